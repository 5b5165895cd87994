"""``mlsecops keygen``: make a signing key."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.errors import UsageError
from mlsecops.signing.keys import Signer

EXAMPLE = "example: mlsecops keygen --type p256 --out release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--type", choices=("p256", "p384", "p521", "ed25519", "rsa"), default="p256"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="KEY.pem")
    parser.add_argument(
        "--password-env", metavar="NAME", help="environment variable that holds its password"
    )


def run(options: argparse.Namespace) -> int:
    """Write KEY.pem (mode 0600) and KEY.pub.pem, never over an existing key."""
    public_path = public_beside(options.out)
    for path in (options.out, public_path):
        if path.exists():
            raise UsageError(f"{path} exists: a key is never overwritten; choose another name")
    signer = Signer.generate(options.type)
    password = password_from(options.password_env)
    write_atomically(options.out, signer.to_pem(password=password), mode=0o600)
    write_atomically(public_path, signer.public_key.pem.encode())
    print(f"private key {options.out}  public key {public_path}")
    print(f"fingerprint {signer.public_key.fingerprint}")
    return 0


def public_beside(private: Path) -> Path:
    """Where the public key of a private key file lies: ``KEY.pub.pem`` beside ``KEY.pem``."""
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
