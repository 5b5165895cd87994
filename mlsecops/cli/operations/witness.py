"""Command `mlsecops registry witness`: a server that cosigns the logs of registries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from mlsecops.audit.objects import open_store
from mlsecops.audit.tlog import Witness
from mlsecops.audit.tlog.witness_server import serve_witness
from mlsecops.cli.options import add_format, option
from mlsecops.cli.signing.keygen import add_password
from mlsecops.cli.signing.sign import read_signer
from mlsecops.cli.terminal import show, show_json
from mlsecops.cli.values import key_source

ABOUT: Final = "run a witness, which cosigns a log as long as it only grows"
EXAMPLE: Final = (
    "mlsecops registry witness --name example.org/w1 --signer w1.pem --state w1/ --log VKEY"
)
_PORT: Final = 8_765  # TCP port; chosen: free, and above those that need privileges


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--name NAME", "name of the witness, best a URL without scheme", required=True)
    option(parser, "--signer KEY.pem", "the witness's Ed25519 private key, for nothing else",
           type=key_source, required=True)  # fmt: skip
    add_password(parser)
    option(parser, "--state DIR", "folder of what it has seen, its own alone", type=Path,
           required=True)  # fmt: skip
    option(parser, "--log VKEY", "verifier keys of the logs, from registry verify-log",
           several=True, required=True)  # fmt: skip
    option(parser, "--host HOST", "address to listen at", default="127.0.0.1")
    option(parser, "--port PORT", "port to listen at", type=int, default=_PORT)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Print the verifier key, and serve until the process is stopped."""
    alone = argparse.Namespace(password_env=options.password_env, cert=None, chain=[])
    witness = Witness(
        open_store(options.state),
        name=options.name,
        signer=read_signer(options.signer, alone),
        logs=options.log,
    )
    url = f"http://{options.host}:{options.port}"
    if options.format == "json":
        show_json({"name": witness.name, "vkey": witness.vkey, "url": url})
    else:
        show(f"{witness.name} at {url}", witness.vkey)
    serve_witness(witness, host=options.host, port=options.port)
    return 0
