"""``mlsecops sign``: sign a model."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from mlsecops.cli.keygen import password_from
from mlsecops.cli.terminal import byte_progress
from mlsecops.errors import UsageError
from mlsecops.provenance.statement import Statement
from mlsecops.provenance.tree import DEFAULT_IGNORE
from mlsecops.signing.keys import KeySigner, Signer, read_pem
from mlsecops.signing.signature import sign

EXAMPLE = "example: mlsecops sign model/ --key release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument("path", metavar="PATH", help="model folder or file")
    parser.add_argument("--key", type=Path, required=True, metavar="K", help="private key (PEM)")
    parser.add_argument("--password-env", metavar="NAME", help="variable with the key's password")
    parser.add_argument("--cert", type=Path, metavar="C", help="certificate of the key (PEM)")
    parser.add_argument(
        "--chain", type=Path, nargs="+", default=[], metavar="C", help="intermediate certificates"
    )
    parser.add_argument("--out", type=Path, metavar="F", help="bundle; default DIR/model.sig")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="P", help="relative path to leave out"
    )
    parser.add_argument(
        "--statement", action="append", default=[], type=Path, metavar="F",
        help="in-toto statement about the model, signed with it",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Sign and say where the bundle is."""
    signer = read_signer(options)
    statements = [read_statement(path) for path in options.statement]
    with byte_progress("hashing") as progress:
        bundle = sign(
            options.path,
            signer,
            out=options.out,
            statements=statements,
            ignore=(*DEFAULT_IGNORE, *options.ignore),
            progress=progress,
        )
    print(f"signed {options.path} by key {signer.public_key.fingerprint[:16]}: {bundle.path}")
    return 0


def read_signer(options: argparse.Namespace) -> KeySigner:
    """The signer that ``--key``, ``--cert`` and ``--chain`` describe; asks for a password."""
    password = password_from(options.password_env)
    if password is None and b"ENCRYPTED" in read_pem(options.key):
        if not sys.stdin.isatty():
            raise UsageError(f"{options.key} is encrypted: name its password with --password-env")
        password = getpass.getpass(f"Password of {options.key}: ")
    chain = b"".join(read_pem(path) for path in [options.cert, *options.chain] if path)
    return Signer.from_pem(options.key, password, certificates=chain or None)


def read_statement(path: Path) -> Statement:
    """An in-toto statement from a file.

    Raises:
        UsageError: It cannot be opened.
        MalformedBundle: It is not a statement.
    """
    try:
        return Statement(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
