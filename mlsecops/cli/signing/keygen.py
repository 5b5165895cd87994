"""`mlsecops keygen`: make a signing key."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.errors import UsageError
from mlsecops.signing.keys import Signer

EXAMPLE = "example: mlsecops keygen --type p256 --out release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--type", choices=("p256", "p384", "p521", "ed25519", "rsa"), default="p256",
        help="kind of key; default p256",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="KEY.pem",
        help="private key to write; the public one goes to KEY.pub.pem beside it",
    )  # fmt: skip
    parser.add_argument(
        "--password-env", metavar="NAME", help="environment variable that holds its password"
    )
    parser.add_argument(
        "--ask-password", action="store_true", help="ask for its password on the terminal"
    )


def run(options: argparse.Namespace) -> int:
    """Write KEY.pem (mode 0600) and KEY.pub.pem, never over an existing key."""
    public_path = public_beside(options.out)
    for path in (options.out, public_path):
        if path.exists():
            raise UsageError(f"{path} exists: a key is never overwritten; choose another name")
    password = new_password(options)
    signer = Signer.generate(options.type)
    write_atomically(options.out, signer.to_pem(password=password), mode=0o600)
    write_atomically(public_path, signer.public_key.pem.encode())
    print(f"private key {options.out}  public key {public_path}")
    print(f"fingerprint {signer.public_key.fingerprint}")
    return 0


def new_password(options: argparse.Namespace) -> str | None:
    """The password that a new key gets, or None.

    Raises:
        UsageError: Both ways are named, the variable is empty, or the answers differ.
    """
    if not options.ask_password:
        return password_from(options.password_env)
    if options.password_env is not None:
        raise UsageError("name --password-env or --ask-password, not both")
    password = ask_password(options.out)
    if not password or getpass.getpass("The same again: ") != password:
        raise UsageError("the passwords differ or are empty: no key was made; try again")
    return password


def ask_password(key: Path) -> str:
    """Ask for a key's password on the terminal.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"no terminal to ask for the password of {key}: name its variable with --password-env"
        )
    return getpass.getpass(f"Password of {key}: ")


def public_beside(private: Path) -> Path:
    """Where the public key of a private key file lies: `KEY.pub.pem` beside `KEY.pem`."""
    return private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")


def password_from(variable: str | None) -> str | None:
    """Password in a named environment variable.

    Raises:
        UsageError: The variable is not set, or empty.
    """
    if variable is None:
        return None
    password = os.environ.get(variable)
    if not password:
        raise UsageError(f"environment variable {variable} is not set: expected the password in it")
    return password
