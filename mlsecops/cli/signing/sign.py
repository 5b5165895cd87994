"""Command `mlsecops sign`: model, private key and statements → signature bundle."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mlsecops import signing
from mlsecops.cli.options import Once, add_algorithm, add_cache
from mlsecops.cli.signing.keygen import add_password, ask_password, password_from
from mlsecops.cli.terminal import progress
from mlsecops.errors import UsageError
from mlsecops.provenance.files.tree import DEFAULT_IGNORE
from mlsecops.provenance.statement import Statement
from mlsecops.signing.detached import sign_detached
from mlsecops.signing.keys import KeySigner, Password, Signer, read_pem
from mlsecops.signing.signature import sign

EXAMPLE = "mlsecops sign model/ --key release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", metavar="PATH", help="model folder or file")
    parser.add_argument(
        "--key", type=Path, action=Once, required=True, metavar="K", help="private key (PEM)"
    )
    add_password(parser)
    parser.add_argument("--cert", type=Path, metavar="C", help="certificate of the key (PEM)")
    parser.add_argument(
        "--chain", type=Path, nargs="+", action="extend", default=[], metavar="C",
        help="intermediate certificates",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="F", help="bundle to write; default DIR/model.sig"
    )
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="P", help="relative path to leave unsigned"
    )
    parser.add_argument(
        "--detached", action="store_true",
        help="write a bare RSA-PSS signature to FILE.sig, not a bundle (one file, RSA key)",
    )  # fmt: skip
    add_algorithm(parser)
    parser.add_argument(
        "--spec-names", action="store_true",
        help="name a single file by its base name, as in the specification, instead of '.'",
    )  # fmt: skip
    parser.add_argument(
        "--model-version",
        type=int,
        metavar="N",
        help="version number, for policies with a lowest one",
    )
    parser.add_argument(
        "--timestamp-url", metavar="URL", help="RFC 3161 authority that timestamps the signature"
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        metavar="BYTES",
        help="sign shards of this size; hashes in parallel",
    )
    add_cache(parser)
    parser.add_argument(
        "--statement", action="append", default=[], type=Path, metavar="F",
        help="in-toto statement about the model to sign with it; may be repeated",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Sign the model and print the path of the bundle."""
    signer = read_signer(options)
    place = _detached(options, signer) if options.detached else _bundle(options, signer)
    print(f"signed {options.path} by key {signer.public_key.fingerprint[:16]}: {place}")
    return 0


def _bundle(options: argparse.Namespace, signer: KeySigner) -> Path | None:
    url = options.timestamp_url
    with progress("hashing", unit="bytes") as bar:
        bundle = sign(
            options.path,
            signer,
            out=options.out,
            statements=[read_statement(path) for path in options.statement],
            algorithm=options.algorithm,
            ignore=(*DEFAULT_IGNORE, *options.ignore),
            cache=options.cache,
            progress=bar,
            version=options.model_version,
            timestamp=None if url is None else signing.http_authority(url),
            spec_names=options.spec_names,
            shard_size=options.shard_size,
        )
    return bundle.path


def _detached(options: argparse.Namespace, signer: KeySigner) -> Path:
    for_bundles = (options.statement, options.ignore, options.cert, options.timestamp_url,
                   options.model_version, options.spec_names, options.shard_size,
                   options.algorithm != "sha256")  # fmt: skip
    if any(for_bundles):
        raise UsageError(
            "--detached: expected only --key and --out, since the signature covers nothing but the "
            "SHA-256 digest of the file; leave the other options out, or sign with a bundle"
        )
    return sign_detached(options.path, signer, out=options.out)


def read_signer(options: argparse.Namespace) -> KeySigner:
    """The signer of `--key`, `--cert` and `--chain`; prompts for a password where needed."""
    variable = options.password_env
    password: Password = (
        partial(ask_password, options.key) if variable is None else password_from(variable) or ""
    )
    chain = b"".join(read_pem(path) for path in [options.cert, *options.chain] if path)
    return Signer.from_pem(options.key, password, certificates=chain or None)


def read_statement(path: Path) -> Statement:
    """The in-toto statement in a file.

    Raises:
        UsageError: The file cannot be opened.
        MalformedBundle: It holds no statement.
    """
    try:
        return Statement(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
