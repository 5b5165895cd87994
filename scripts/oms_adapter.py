r"""Adapter of the OMS conformance suite: its protocol in, the exit status of `mlsecops` out.

    git clone https://github.com/sampras343/model-signing-conformance
    printf '#!/bin/sh\nexec python PATH/TO/oms_adapter.py "$@"\n' > adapter; chmod +x adapter
    pytest model-signing-conformance/test --entrypoint=./adapter

The suite skips whatever concerns identities without SIGSTORE_ID_TOKEN; any text in it lets the
cases run that only verify. Cases that sign by an identity need the network and a real token.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mlsecops.cli import main as mlsecops

_VALUES = ("--method", "--model-path", "--output-bundle", "--bundle", "--private-key",
           "--signing-cert", "--public-key", "--identity", "--identity-provider")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The suite's protocol."""
    top = argparse.ArgumentParser(description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("sign-model", "verify-model"):
        command = commands.add_parser(name)
        for flag in _VALUES:
            command.add_argument(flag)
        for flag in ("--cert-chain", "--ignore-paths"):
            command.add_argument(flag, action="append", default=[])
        for flag in ("--ignore-unsigned-files", "--use-staging"):
            command.add_argument(flag, action="store_true")
    return top


def words(options: argparse.Namespace) -> list[str]:
    """The command line of `mlsecops` for one case."""
    model = Path(options.model_path)
    ignored = [word for path in options.ignore_paths
               for word in ("--ignore", os.path.relpath(path, model))]  # fmt: skip
    if options.command == "sign-model":
        said = ["sign", str(model), "--out", options.output_bundle, "--key", options.private_key]
        if options.method == "certificate":
            said += ["--cert", options.signing_cert]
            said += ["--chain", *options.cert_chain] if options.cert_chain else []
        return [*said, *ignored]
    said = ["verify", str(model), "--bundle", options.bundle, *ignored, "--legacy"]
    if options.ignore_unsigned_files:
        said += ["--ignore-unsigned"]
    if options.method == "key":
        return [*said, "--key", options.public_key]
    if options.method == "certificate":
        return [*said, "--root", *options.cert_chain]
    return [*said, "--identity", options.identity, "--identity-issuer", options.identity_provider]


if __name__ == "__main__":
    sys.exit(mlsecops(words(parser().parse_args())))
