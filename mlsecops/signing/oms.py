"""OpenSSF Model Signing payload: the statement that is signed for a model.

Manifest and further statements → one payload → (signed, verified) → ModelClaim

One signature covers the further statements too. Other verifiers of the format ignore them, as
version 1.0 of the predicate demands.

Source: OpenSSF Model Signing specification 1.0 (predicate `https://model_signing/signature/v1.0`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlsecops.errors import MalformedBundle, UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry
from mlsecops.provenance.files.tree import ignore_paths
from mlsecops.provenance.manifest import Manifest
from mlsecops.provenance.statement import Statement
from mlsecops.signing.shards import (
    file_of_shard,
    plain_algorithm,
    shard_size,
    written_algorithm,
    written_method,
)

PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
SINGLE_FILE: Final = "."
"""Name of a single file's only resource, as the deployed verifier writes and reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClaim:
    """Claim of a model signature; its signer is not checked yet.

    Attributes:
        manifest: Names and digests, in code point order, with ignored paths.
        subject: Digest in the statement, over the resources in listed order.
        statements: Further statements about the same model.
        version: Its version, for a policy's rollback floor, or None.
    """

    manifest: Manifest
    subject: Digest
    statements: tuple[Statement, ...]
    version: int | None = None


def _require_signable(
    manifest: Manifest, statements: Sequence[Statement], version: int | None
) -> None:
    if version is not None and not _is_version(version):
        raise UsageError(f"version {version!r}: expected a whole number from 1 on")
    if not manifest.entries:
        raise UsageError(
            f"{manifest.name!r} holds no file: expected one or more, there is nothing to sign"
        )
    known = known_digests(manifest)
    for statement in statements:
        if known.isdisjoint(statement.subjects.values()):
            raise UsageError(
                f"the {statement.predicate_type} statement is about "
                f"{', '.join(map(str, statement.subjects.values()))}, not about this model "
                f"({manifest.root}); record the final files before signing them"
            )


def build_payload(
    manifest: Manifest,
    statements: Sequence[Statement] = (),
    *,
    version: int | None = None,
    spec_names: bool = False,
) -> bytes:
    """The payload that is signed for a model.

    Args:
        manifest: Names and digests.
        statements: Further statements about the same model.
        version: Version from 1 on, for a policy's floor.
        spec_names: Name a single file by its base name, as the specification has it, rather than
            `"."`, as deployed verifiers read it.

    Raises:
        UsageError: The model is empty, a statement is about another, or the version is invalid.
    """
    _require_signable(manifest, statements, version)
    listed = manifest.renamed(SINGLE_FILE) if manifest.single and not spec_names else manifest
    algorithm = written_algorithm(manifest)
    predicate: dict[str, Any] = {
        "serialization": {
            **written_method(manifest),
            "hash_type": manifest.algorithm,
            "allow_symlinks": False,
            "ignore_paths": list(manifest.ignore),
        },
        "resources": [
            {"name": entry.name, "algorithm": algorithm, "digest": entry.digest.hex}
            for entry in listed.entries
        ],
    }
    if version is not None:
        predicate["version"] = version
    if statements:
        predicate["statements"] = [
            base64.b64encode(statement.payload).decode() for statement in statements
        ]
    return Statement.build(
        subjects={manifest.name: manifest.root},
        predicate_type=PREDICATE_TYPE,
        predicate=predicate,
    ).payload


def known_digests(manifest: Manifest) -> frozenset[Digest]:
    """The model's root digest and its files', one of which a statement about it names."""
    return frozenset({manifest.root, *(entry.digest for entry in manifest.entries)})


def read_payload(payload: bytes, *, where: str) -> ModelClaim:
    """Parse a signed payload.

    Args:
        payload: The exact signed bytes.
        where: Path of the bundle, for messages.

    Raises:
        MalformedBundle: It is no model statement, or contradicts itself.
    """
    statement = statement_of(payload, where)
    if statement.predicate_type != PREDICATE_TYPE:
        raise MalformedBundle(
            f"{where}: expected predicateType {PREDICATE_TYPE}, got {statement.predicate_type!r}"
        )
    if len(statement.subjects) != 1:
        raise MalformedBundle(
            f"{where}: expected exactly one subject, got {len(statement.subjects)}"
        )
    [(name, subject)] = statement.subjects.items()
    predicate = statement.predicate
    ignore, size = _serialization(predicate.get("serialization"), where)
    listed = _entries(predicate.get("resources"), size, where)
    manifest = manifest_of(name, listed, ignore=ignore, shards=size, where=where)
    _require_root(listed, subject, where)
    statements = tuple(_nested(item, where) for item in _list(predicate, "statements", where))
    known = known_digests(manifest)  # once: a bundle may hold many statements and many files
    for nested in statements:
        if known.isdisjoint(nested.subjects.values()):
            raise MalformedBundle(
                f"{where}: its {nested.predicate_type} statement is about another model"
            )
    return ModelClaim(
        manifest=manifest,
        subject=subject,
        statements=statements,
        version=_version(predicate, where),
    )


def statement_of(payload: bytes, where: str) -> Statement:
    """The statement that a payload is.

    Raises:
        MalformedBundle: It is none.
    """
    try:
        return Statement(payload)
    except MalformedBundle as error:
        raise MalformedBundle(f"{where}: {error}") from error


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _version(predicate: dict[str, Any], where: str) -> int | None:
    version = predicate.get("version")
    if version is None or _is_version(version):
        return version
    raise MalformedBundle(f"{where}: expected version to be a number from 1 on, got {version!r}")


def _serialization(value: object, where: str) -> tuple[tuple[str, ...], int | None]:
    """Ignored paths, and the size of shards in bytes or None for whole files."""
    if not isinstance(value, dict):
        raise MalformedBundle(f"{where}: expected predicate.serialization to be an object")
    if value.get("method") not in {"files", "shards"}:
        raise MalformedBundle(
            f"{where}: serialization method {value.get('method')!r}: expected 'files' or 'shards'"
        )
    if value.get("allow_symlinks", False) is not False:
        raise MalformedBundle(
            f"{where}: signed with symlinks allowed: expected allow_symlinks false, since "
            "symlinked folders would be unprotected; sign again without"
        )
    size = shard_size(value.get("shard_size"), where) if value["method"] == "shards" else None
    try:
        return ignore_paths(_list(value, "ignore_paths", where)), size
    except (UsageError, AttributeError) as error:
        raise MalformedBundle(f"{where}: ignore_paths: {error}") from error


def _list(value: dict[str, Any], key: str, where: str) -> list[Any]:
    items = value.get(key, [])
    if not isinstance(items, list):
        raise MalformedBundle(f"{where}: expected {key} to be a list")
    return items


def _entries(items: object, size: int | None, where: str) -> list[Entry]:
    if not isinstance(items, list) or not items:
        raise MalformedBundle(f"{where}: expected at least one resource: an empty model is refused")
    return [_resource_entry(item, size, where) for item in items]


def _resource_entry(item: object, size: int | None, where: str) -> Entry:
    if not isinstance(item, dict):
        raise MalformedBundle(f"{where}: expected each resource to be an object")
    name, algorithm, digest = (item.get(key) for key in ("name", "algorithm", "digest"))
    if size is not None:
        algorithm = plain_algorithm(algorithm, size)
    if not isinstance(name, str):
        raise MalformedBundle(f"{where}: resource name {name!r}: expected a relative path inside")
    try:
        return Entry(name, Digest.parse(f"{algorithm}:{digest}"))
    except UsageError as error:
        raise MalformedBundle(f"{where}: resource {name!r}: {error}") from error


def _is_relative(name: str) -> bool:
    return "\0" not in name and all(part not in {"", ".", ".."} for part in name.split("/"))


def _require_root(entries: Sequence[Entry], subject: Digest, where: str) -> None:
    running = hashlib.sha256()
    for entry in entries:
        running.update(entry.digest.value)
    if subject != Digest("sha256", running.digest()):
        raise MalformedBundle(
            f"{where}: expected subject sha256:{running.hexdigest()} over the resources, "
            f"got {subject}"
        )


def manifest_of(
    name: str, listed: Sequence[Entry], *, ignore: tuple[str, ...], shards: int | None, where: str
) -> Manifest:
    """Manifest of the entries of a signature, which may list them in any order.

    Raises:
        MalformedBundle: A name is repeated or leads outside, or algorithms differ.
    """
    files: dict[str, None] = {}
    seen: set[str] = set()
    for entry in listed:
        if entry.name in seen:
            raise MalformedBundle(f"{where}: resource {entry.name!r} appears more than once")
        seen.add(entry.name)
        file = entry.name if shards is None else file_of_shard(entry.name, shards, where)
        if file != SINGLE_FILE and not _is_relative(file):
            raise MalformedBundle(
                f"{where}: resource name {entry.name!r}: expected a relative path inside"
            )
        files[file] = None
    if SINGLE_FILE in files and len(files) > 1:
        raise MalformedBundle(f"{where}: expected '.' as the only resource, got further ones")
    algorithms = {entry.digest.algorithm for entry in listed}
    if len(algorithms) > 1:
        raise MalformedBundle(f"{where}: expected one digest algorithm, got {sorted(algorithms)}")
    single = SINGLE_FILE in files
    entries = [
        Entry(name + entry.name.removeprefix(SINGLE_FILE), entry.digest) if single else entry
        for entry in listed
    ]
    return Manifest(
        name=name,
        algorithm=algorithms.pop(),
        entries=tuple(sorted(entries, key=lambda entry: entry.name)),
        ignore=ignore,
        single=single,
        shard_size=shards,
    )


def _nested(item: object, where: str) -> Statement:
    try:
        if not isinstance(item, str):
            raise MalformedBundle(f"{where}: expected each statement to be base64 text")
        return statement_of(base64.b64decode(item, validate=True), where)
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle(f"{where}: a statement is not base64: {error}") from error
