"""Command `mlsecops sign`: model, private key and statements → signature bundle."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mlsecops import signing
from mlsecops.cli.options import Once, add_algorithm, add_cache, option
from mlsecops.cli.signing.keygen import add_password, ask_password, password_from
from mlsecops.cli.terminal import progress, show
from mlsecops.errors import UsageError
from mlsecops.provenance.files.tree import DEFAULT_IGNORE
from mlsecops.provenance.statement import Statement
from mlsecops.signing.detached import sign_detached
from mlsecops.signing.keys import KeySigner, Password, Signer, read_pem
from mlsecops.signing.signature import sign

EXAMPLE = "mlsecops sign model/ --key release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model folder or file")
    option(parser, "--key K", "private key (PEM)", type=Path, action=Once, required=True)
    add_password(parser)
    option(parser, "--cert C", "certificate of the key (PEM)", type=Path)
    option(parser, "--chain C", "intermediate certificates", several=True, type=Path)
    option(parser, "--out F", "bundle to write; default DIR/model.sig", type=Path)
    option(parser, "--ignore P", "relative path to leave unsigned", action="append", default=[])
    option(parser, "--detached",
           "write a bare RSA-PSS signature to FILE.sig, no bundle (one file, RSA key)")  # fmt: skip
    add_algorithm(parser)
    option(parser, "--spec-names",
           "name a single file by its base name, as the specification does, not '.'")  # fmt: skip
    option(parser, "--name NAME", "name of the model, for policies; default that of the path")
    option(parser, "--model-version N", "version number, for policies with a lowest one", type=int)
    option(parser, "--timestamp-url URL", "RFC 3161 authority that timestamps the signature")
    option(parser, "--shard-size BYTES", "sign shards of this size; hashes in parallel", type=int)
    add_cache(parser)
    option(parser, "--statement F",
           "in-toto statement about the model to sign with it; may be repeated",
           action="append", default=[], type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Sign the model and print the path of the bundle."""
    signer = read_signer(options)
    place = _detached(options, signer) if options.detached else _bundle(options, signer)
    show(f"signed {options.path} by key {signer.public_key.fingerprint[:16]}: {place}")
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
            name=options.name,
        )
    return bundle.path


def _detached(options: argparse.Namespace, signer: KeySigner) -> Path:
    for_bundles = (options.statement, options.ignore, options.cert, options.timestamp_url,
                   options.model_version, options.name, options.spec_names, options.shard_size,
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
