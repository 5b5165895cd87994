"""Command `mlsecops sign`: model, private key and statements → signature bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mlsecops import signing
from mlsecops.cli.options import add_algorithm, add_cache, option
from mlsecops.cli.signing.keygen import add_password, ask_password, password_from
from mlsecops.cli.terminal import progress, show
from mlsecops.cli.values import count, key_source, location, place
from mlsecops.errors import UsageError
from mlsecops.provenance.files.tree import DEFAULT_IGNORE
from mlsecops.provenance.statement import Statement
from mlsecops.signing.bundle import Bundle
from mlsecops.signing.detached import sign_detached
from mlsecops.signing.keys import Password, Signer, read_pem
from mlsecops.signing.keys.pem import load_certificates
from mlsecops.signing.oms import read_payload
from mlsecops.signing.signature import sign

EXAMPLE = "mlsecops sign model/ --key release.pem --password-env RELEASE_PASSWORD"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model folder, file or URL (s3://bucket/model)",
           type=place)  # fmt: skip
    option(parser, "--key K",
           "private key (PEM or OpenSSH), or URI of one in a device or key service (pkcs11:, "
           "awskms:, gcpkms:, azurekms:, vault:); may be repeated for several signers",
           type=key_source, action="append", required=True)  # fmt: skip
    add_password(parser)
    option(parser, "--cert C", "certificate of the key (PEM)", type=Path)
    option(parser, "--chain C", "intermediate certificates", several=True, type=Path)
    option(parser, "--out F", "bundle to write, a file or URL; default DIR/model.sig",
           type=location)  # fmt: skip
    option(parser, "--add", "add a signature to the bundle of unchanged files, with its statements")
    option(parser, "--replace", "replace the bundle, with other keys' signatures and statements")
    option(parser, "--include-secrets", "sign private keys and files of credentials, too")
    option(parser, "--ignore P", "relative path to leave unsigned", action="append", default=[])
    option(parser, "--detached",
           "write a bare RSA-PSS signature to FILE.sig, no bundle (one file, RSA key)")  # fmt: skip
    add_algorithm(parser)
    option(parser, "--spec-names",
           "name a single file by its base name, as the specification does, not '.'")  # fmt: skip
    option(parser, "--name NAME", "name of the model, for policies; default that of the path")
    option(
        parser, "--model-version N", "version number, for policies with a lowest one", type=count
    )
    option(parser, "--timestamp-url URL", "RFC 3161 authority that timestamps the signature")
    option(parser, "--shard-size BYTES", "sign shards of this size; hashes in parallel", type=count)
    add_cache(parser)
    option(parser, "--statement F",
           "in-toto statement about the model to sign with it; may be repeated",
           action="append", default=[], type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Sign the model and print the path of the bundle."""
    signers = [read_signer(key, options) for key in dict.fromkeys(options.key)]
    if options.detached:
        place: Path | str | None = _detached(options, signers)
    else:
        bundle = _bundle(options, signers)
        place = bundle.path
        if options.add:
            show(*_added(bundle))
    for signer in signers:
        show(f"signed {options.path} by key {signer.public_key.fingerprint[:16]}: {place}")
    return 0


def _added(bundle: Bundle) -> list[str]:
    """The claim that was there and is signed by the added keys too."""
    claim = read_payload(bundle.envelope.payload, where=str(bundle.path))
    version = "" if claim.version is None else f" version {claim.version}"
    hidden = (name for name in claim.manifest.ignore if name not in DEFAULT_IGNORE)
    return [
        f"signs what the bundle says: {claim.manifest.name}{version}",
        *(f"  statement {statement.predicate_type}" for statement in claim.statements),
        *(f"  not covered by the signature: {name}" for name in hidden),
    ]


def _bundle(options: argparse.Namespace, signers: Sequence[Signer]) -> Bundle:
    url = options.timestamp_url
    with progress("hashing", unit="bytes") as bar:
        return sign(
            options.path,
            signers,
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
            add=options.add,
            replace=options.replace,
            include_secrets=options.include_secrets,
        )


def _detached(options: argparse.Namespace, signers: Sequence[Signer]) -> Path:
    for_bundles = (options.statement, options.ignore, options.cert, options.timestamp_url,
                   options.model_version, options.name, options.spec_names, options.shard_size,
                   options.add, len(signers) > 1, options.algorithm != "sha256")  # fmt: skip
    if any(for_bundles):
        raise UsageError(
            "--detached: expected one --key, --out and --replace at most, since the signature "
            "covers nothing but the SHA-256 digest of the file; leave the other options out, or "
            "sign with a bundle"
        )
    return sign_detached(
        options.path,
        signers[0],
        out=options.out,
        replace=options.replace,
        include_secrets=options.include_secrets,
    )


def read_signer(key: Path | str, options: argparse.Namespace) -> Signer:
    """The signer of a key, `--cert` and `--chain`; prompts for a password where needed.

    Args:
        key: Path of a private key, or URI of one in a key service.
        options: The parsed options.
    """
    given = [path for path in (options.cert, *options.chain) if path]
    for path in given:
        load_certificates(path)  # says which file holds none
    chain = b"".join(map(read_pem, given)) or None
    password = password_of(key, options.password_env)
    if isinstance(key, str):
        return Signer.from_uri(key, certificates=chain, password=password)
    return Signer.from_pem(key, password, certificates=chain)


def password_of(key: Path | str, variable: str | None) -> Password:
    """The password of a key, which is used for encrypted keys and tokens alone."""
    if variable is None:
        return partial(ask_password, key)
    known = password_from(variable) or ""
    return lambda: known


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
