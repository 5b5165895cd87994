"""What a model signature says: the statement of OpenSSF Model Signing, from and to a Manifest.

A Manifest and further statements become one payload, so that one signature covers them all; a
verified payload becomes a :class:`ModelClaim`. Other verifiers of the format ignore the further
statements, as the predicate's version 1.0 tells them to.

Source: OpenSSF Model Signing specification 1.0 (predicate ``https://model_signing/signature/v1.0``).
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
from mlsecops.provenance.manifest import Entry, Manifest
from mlsecops.provenance.statement import Statement
from mlsecops.provenance.tree import ignore_paths

PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
SINGLE_FILE: Final = "."
"""Name of a single-file model's only resource, as the deployed verifier writes and reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelClaim:
    """What a model signature claims, not yet whether anybody trusted made it.

    Attributes:
        manifest: Names and digests, in code point order, with what to ignore.
        subject: The digest that stands in the statement (over the listed order).
        statements: Further statements about the same model.
    """

    manifest: Manifest
    subject: Digest
    statements: tuple[Statement, ...]


def build_payload(manifest: Manifest, statements: Sequence[Statement] = ()) -> bytes:
    """The payload that is signed for a model.

    Raises:
        UsageError: The model is empty, or a statement is about something else.
    """
    if not manifest.entries:
        raise UsageError(f"{manifest.name!r} holds no file: there is nothing to sign")
    for statement in statements:
        if not is_about(statement, manifest):
            raise UsageError(
                f"the {statement.predicate_type} statement is about "
                f"{', '.join(map(str, statement.subjects.values()))}, not about this model "
                f"({manifest.root}); record the final files before signing them"
            )
    predicate: dict[str, Any] = {
        "serialization": {
            "method": "files",
            "hash_type": manifest.algorithm,
            "allow_symlinks": False,
            "ignore_paths": list(manifest.ignore),
        },
        "resources": [_resource(entry, manifest) for entry in manifest.entries],
    }
    if statements:
        predicate["statements"] = [
            base64.b64encode(statement.payload).decode() for statement in statements
        ]
    return Statement.build(
        subjects={manifest.name: manifest.root},
        predicate_type=PREDICATE_TYPE,
        predicate=predicate,
    ).payload


def is_about(statement: Statement, manifest: Manifest) -> bool:
    """Whether a statement names the model's root digest or one of its files'."""
    known = {manifest.root, *(entry.digest for entry in manifest.entries)}
    return not known.isdisjoint(statement.subjects.values())


def read_payload(payload: bytes, *, where: str) -> ModelClaim:
    """Parse a signed payload.

    Args:
        payload: The exact signed bytes.
        where: Path of the bundle, for messages.

    Raises:
        MalformedBundle: It is no model statement, or contradicts itself.
    """
    statement = Statement(payload)
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
    ignore = _serialization(predicate.get("serialization"), where)
    listed = _entries(predicate.get("resources"), where)
    _require_root(listed, subject, where)
    manifest = _manifest(name, listed, ignore, where)
    statements = tuple(_nested(item, where) for item in _list(predicate, "statements", where))
    for nested in statements:
        if not is_about(nested, manifest):
            raise MalformedBundle(
                f"{where}: its {nested.predicate_type} statement is about another model"
            )
    return ModelClaim(manifest=manifest, subject=subject, statements=statements)


def _resource(entry: Entry, manifest: Manifest) -> dict[str, str]:
    return {
        "name": SINGLE_FILE if manifest.single else entry.name,
        "algorithm": entry.digest.algorithm,
        "digest": entry.digest.hex,
    }


def _serialization(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, dict):
        raise MalformedBundle(f"{where}: expected predicate.serialization to be an object")
    if value.get("method") != "files":
        raise MalformedBundle(
            f"{where}: serialization method {value.get('method')!r}: expected 'files'; "
            "sharded signatures are not supported yet"
        )
    if value.get("allow_symlinks", False) is not False:
        raise MalformedBundle(
            f"{where}: signed with symlinks allowed: expected allow_symlinks false, since "
            "symlinked folders would be unprotected; sign again without"
        )
    try:
        return ignore_paths(_list(value, "ignore_paths", where))
    except (UsageError, AttributeError) as error:
        raise MalformedBundle(f"{where}: ignore_paths: {error}") from error


def _list(value: dict[str, Any], key: str, where: str) -> list[Any]:
    items = value.get(key, [])
    if not isinstance(items, list):
        raise MalformedBundle(f"{where}: expected {key} to be a list")
    return items


def _entries(items: object, where: str) -> list[Entry]:
    if not isinstance(items, list) or not items:
        raise MalformedBundle(f"{where}: expected at least one resource: an empty model is refused")
    entries = [_resource_entry(item, where) for item in items]
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise MalformedBundle(f"{where}: resource {entry.name!r} stands twice")
        seen.add(entry.name)
    if SINGLE_FILE in seen and len(seen) > 1:
        raise MalformedBundle(f"{where}: resource '.' stands beside others")
    return entries


def _resource_entry(item: object, where: str) -> Entry:
    if not isinstance(item, dict):
        raise MalformedBundle(f"{where}: expected each resource to be an object")
    name, algorithm, digest = (item.get(key) for key in ("name", "algorithm", "digest"))
    if not isinstance(name, str) or (name != SINGLE_FILE and not _is_relative(name)):
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


def _manifest(name: str, listed: list[Entry], ignore: tuple[str, ...], where: str) -> Manifest:
    single = [entry.name for entry in listed] == [SINGLE_FILE]
    entries = [Entry(name, listed[0].digest)] if single else listed
    algorithms = {entry.digest.algorithm for entry in entries}
    if len(algorithms) > 1:
        raise MalformedBundle(f"{where}: expected one digest algorithm, got {sorted(algorithms)}")
    return Manifest(
        name=name,
        algorithm=algorithms.pop(),
        entries=tuple(sorted(entries, key=lambda entry: entry.name)),
        ignore=ignore,
        single=single,
    )


def _nested(item: object, where: str) -> Statement:
    try:
        if not isinstance(item, str):
            raise MalformedBundle(f"{where}: expected each statement to be base64 text")
        return Statement(base64.b64decode(item, validate=True))
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle(f"{where}: a statement is not base64: {error}") from error
