"""Command `mlsecops keygen`: key type and password → KEY.pem and KEY.pub.pem."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.cli.options import option
from mlsecops.cli.terminal import show
from mlsecops.errors import UsageError
from mlsecops.signing.keys import Signer

EXAMPLE = "mlsecops keygen --type p256 --out release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--type", "key type",
           choices=("p256", "p384", "p521", "ed25519", "rsa"), default="p256")  # fmt: skip
    option(parser, "--out KEY.pem",
           "private key to write; the public key is written to KEY.pub.pem in the same folder",
           type=Path, required=True)  # fmt: skip
    add_password(parser)
    option(parser, "--ask-password", "prompt for the key's password")


def run(options: argparse.Namespace) -> int:
    """Write KEY.pem (mode 0600) and KEY.pub.pem; existing keys are never overwritten."""
    public_path = public_path_of(options.out)
    for path in (options.out, public_path):
        if path.exists():
            raise UsageError(f"{path} exists: a key is never overwritten; choose another name")
    password = new_password(options)
    signer = Signer.generate(options.type)
    write_atomically(options.out, signer.to_pem(password=password), mode=0o600)
    write_atomically(public_path, signer.public_key.pem.encode())
    show(f"private key {options.out}  public key {public_path}")
    show(f"fingerprint {signer.public_key.fingerprint}")
    return 0


def new_password(options: argparse.Namespace) -> str | None:
    """The password of a new key, or None.

    Raises:
        UsageError: Both options are given, the variable is empty, or the two entries differ.
    """
    if not options.ask_password:
        return password_from(options.password_env)
    if options.password_env is not None:
        raise UsageError("expected --password-env or --ask-password, got both")
    password = ask_password(options.out)
    if not password or getpass.getpass("The same again: ") != password:
        raise UsageError("the passwords differ or are empty: no key was created; try again")
    return password


def ask_password(key: Path | str) -> str:
    """Prompt for the password of a key on the terminal.

    Raises:
        UsageError: Standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"{key}: expected a terminal to ask for its password, got none; name a variable that "
            "holds it with --password-env"
        )
    return getpass.getpass(f"Password of {key}: ")


def public_path_of(private: Path) -> Path:
    """Path of the public key that belongs to a private key file.

    Examples:
        >>> public_path_of(Path("release.pem")).name
        'release.pub.pem'
    """
    return private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")


def add_password(parser: argparse.ArgumentParser) -> None:
    """Declare the environment variable of a key's password."""
    option(parser, "--password-env NAME", "environment variable with the key's password")


def password_from(variable: str | None) -> str | None:
    """The password in an environment variable, or None when no variable is named.

    Raises:
        UsageError: The variable is unset or empty.
    """
    if variable is None:
        return None
    password = os.environ.get(variable)
    if not password:
        raise UsageError(f"environment variable {variable}: expected a password, got nothing")
    return password
