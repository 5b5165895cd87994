"""Whether a bill of materials is well formed: the schema, and what the schema wrongly accepts.

A parsed bill comes in, Findings go out; each names the component at fault and prints no secret.
Every rule here refuses: a bill that points nowhere, or has no digests, vouches for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from mlsecops._extras import require
from mlsecops.findings import Finding, Severity
from mlsecops.reports.redaction import secrets_in, shown

NEED_HASHES: Final = ("machine-learning-model", "data", "file")
"""Kinds of component that mean nothing without a digest."""

MAX_DEPTH: Final = 64
"""Nesting beyond which a bill is refused unread: no honest one comes near."""

_LENGTHS: Final = {
    "MD5": 32,
    "SHA-1": 40,
    "SHA-256": 64,
    "SHA-384": 96,
    "SHA-512": 128,
    "SHA3-256": 64,
    "SHA3-384": 96,
    "SHA3-512": 128,
    "BLAKE2b-256": 64,
    "BLAKE2b-384": 96,
    "BLAKE2b-512": 128,
    "BLAKE3": 64,
    "Streebog-256": 64,
    "Streebog-512": 128,
}
_WEAK: Final = ("MD5", "SHA-1")
_VERSIONS: Final = ("1.6", "1.7")
_MOST_SCHEMA_ERRORS: Final = 20
_REFERENCE_LISTS: Final = ("dependsOn", "provides", "assemblies", "dependencies", "subjects")


@dataclass(frozen=True, slots=True)
class BomNode:
    """An object inside the bill and the path to it (`components[0].modelCard`)."""

    path: str
    value: dict[str, Any]


def lint_bom(bom: Mapping[str, Any], *, artifact: str = "bom") -> list[Finding]:
    """Find what is wrong with a bill of materials; an empty list when nothing is.

    Args:
        bom: Parsed JSON of a CycloneDX bill.
        artifact: Path or name of the bill, for the findings.

    Raises:
        MissingExtra: The extra `bom` (schema and purl validation) is not installed.
    """
    findings = [
        _finding(rule, message, where, artifact)
        for rule, message, where in (*_schema(bom), *_structure(bom))
    ]
    return sorted(findings, key=lambda each: (each.rule, each.where, each.message))


def walk(value: Any, path: str = "") -> Iterator[BomNode]:
    """Every object in parsed JSON with its path, down to `MAX_DEPTH`, without recursion."""
    stack: list[tuple[str, Any, int]] = [(path, value, 0)]
    while stack:
        here, current, depth = stack.pop()
        if isinstance(current, dict):
            yield BomNode(here, current)
            named = [(shown(key), child) for key, child in current.items()]
            children = [(f"{here}.{key}" if here else key, child) for key, child in named]
        elif isinstance(current, list):
            children = [(f"{here}[{index}]", child) for index, child in enumerate(current)]
        else:
            continue
        if depth < MAX_DEPTH:
            stack.extend((place, child, depth + 1) for place, child in reversed(children))


def too_deep(value: Any) -> bool:
    """Whether parsed JSON is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, (dict, list)) for each in level)


def is_component(node: BomNode) -> bool:
    """Whether an object of the bill is a component (by where it stands)."""
    holder = node.path.rpartition("[")[0] or node.path
    return holder.endswith("components") or node.path == "metadata.component"


def called(value: Mapping[str, Any]) -> str:
    """What a component calls itself, fit for a message."""
    return shown(value.get("name") or value.get("bom-ref") or "(no name)")


_Problem = tuple[str, str, str]


def _finding(rule: str, message: str, where: str, artifact: str) -> Finding:
    return Finding(
        rule=rule, severity=Severity.HIGH, message=message, where=shown(where), artifact=artifact
    )


def _schema(bom: Mapping[str, Any]) -> Iterator[_Problem]:
    if too_deep(bom):
        yield "bom-schema", f"the bill is nested more than {MAX_DEPTH} levels deep", ""
        return
    version = bom.get("specVersion")
    if version not in _VERSIONS:
        yield (
            "bom-version",
            f"specVersion: expected 1.6 or 1.7, got {shown(version)}",
            "specVersion",
        )
        return
    schema = require("cyclonedx.schema").SchemaVersion
    validator = require("cyclonedx.validation.json").JsonStrictValidator(
        schema.V1_6 if version == "1.6" else schema.V1_7
    )
    try:
        errors = list(validator.validate_str(json.dumps(bom), all_errors=True) or ())
    except (ValueError, TypeError):
        yield "bom-schema", "the bill is not JSON", ""
        return
    for error in errors[:_MOST_SCHEMA_ERRORS]:
        where = ".".join(str(part) for part in error.data.absolute_path)
        keyword = shown(error.data.validator)
        yield "bom-schema", f"{shown(where) or 'the bill'} breaks the schema's {keyword!r}", where


def _structure(bom: Mapping[str, Any]) -> Iterator[_Problem]:
    nodes = list(walk(bom))
    components = [node for node in nodes if is_component(node)]
    yield from _duplicates(nodes)
    yield from _dangling(nodes)
    yield from _secrets(nodes)
    for node in components:
        yield from _model_card(node)
        yield from _hashes(node)
        yield from _purl(node)
    if not any(node.value.get("type") == "machine-learning-model" for node in components):
        yield "model-absent", "no component is a machine-learning-model", "components"


def _references(nodes: list[BomNode]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in nodes:
        reference = node.value.get("bom-ref")
        if isinstance(reference, str):
            found.setdefault(reference, []).append(node.path)
    return found


def _duplicates(nodes: list[BomNode]) -> Iterator[_Problem]:
    for reference, paths in _references(nodes).items():
        if len(paths) > 1:
            places = ", ".join(shown(path) for path in paths[:3])
            message = f"bom-ref {shown(reference)!r} stands {len(paths)} times ({places})"
            yield "duplicate-ref", f"{message}; give each its own", paths[1]


def _dangling(nodes: list[BomNode]) -> Iterator[_Problem]:
    known = _references(nodes)
    for node in nodes:
        for key, target in _pointers(node):
            if target not in known and not target.startswith("urn:cdx:"):
                message = f"{shown(node.path)}.{key} points at {shown(target)!r}"
                yield (
                    "dangling-ref",
                    f"{message}, which nothing in the bill is called",
                    f"{node.path}.{key}",
                )


def _pointers(node: BomNode) -> Iterator[tuple[str, str]]:
    if isinstance(node.value.get("ref"), str):
        yield "ref", node.value["ref"]
    for key in _REFERENCE_LISTS:
        listed = node.value.get(key)
        for target in listed if isinstance(listed, list) else ():
            if isinstance(target, str):
                yield key, target


def _secrets(nodes: list[BomNode]) -> Iterator[_Problem]:
    for node in nodes:
        for key, value in node.value.items():
            texts = value if isinstance(value, list) else [value]
            kinds = {kind for text in texts if isinstance(text, str) for kind in secrets_in(text)}
            for kind in sorted(kinds):
                place = f"{shown(node.path)}.{shown(key)}"
                message = (
                    f"{place} holds what looks like a secret ({kind}); remove it and revoke it"
                )
                yield "secret", message, f"{node.path}.{key}"


def _model_card(node: BomNode) -> Iterator[_Problem]:
    kind = node.value.get("type")
    if "modelCard" in node.value and kind != "machine-learning-model":
        message = f"{called(node.value)} is a {shown(kind)} and has a modelCard"
        yield "model-card", f"{message}; only a machine-learning-model has one", node.path


def _hashes(node: BomNode) -> Iterator[_Problem]:
    listed = node.value.get("hashes")
    hashes = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    strong = [each for each in hashes if each.get("alg") not in _WEAK]
    if node.value.get("type") in NEED_HASHES and not strong:
        yield (
            "hash-absent",
            f"{called(node.value)} has no digest stronger than SHA-1; add one",
            node.path,
        )
    for each in hashes:
        algorithm, content = each.get("alg"), each.get("content")
        expected = _LENGTHS.get(algorithm) if isinstance(algorithm, str) else None
        if not isinstance(content, str) or len(content) != expected:
            got = len(content) if isinstance(content, str) else "none"
            message = f"{called(node.value)}: a {shown(algorithm)} digest has {expected} hex digits"
            yield "hash-length", f"{message}, got {got}", f"{node.path}.hashes"


def _purl(node: BomNode) -> Iterator[_Problem]:
    purl = node.value.get("purl")
    if purl is None:
        return
    parsed = _parsed(purl)
    if parsed is None:
        message = f"{called(node.value)}: {shown(purl)!r} is not a package URL"
        yield "purl-invalid", message, f"{node.path}.purl"
        return
    same = _plain(unquote(parsed.name)) == _plain(node.value.get("name"))
    if parsed.type == "pypi" and not (same and parsed.version == node.value.get("version")):
        message = f"{called(node.value)} {shown(node.value.get('version'))} has the package URL"
        yield "purl-mismatch", f"{message} of another, {shown(purl)!r}", f"{node.path}.purl"


def _parsed(purl: object) -> Any | None:
    """The package URL's parts, or None when it is not a canonical one of a package."""
    library = require("packageurl").PackageURL
    try:
        parsed = library.from_string(purl)
    except (ValueError, TypeError, AttributeError):
        return None
    canonical = unquote(parsed.to_string()).lower() == unquote(str(purl)).lower()
    return parsed if canonical and parsed.type and parsed.name else None


def _plain(name: object) -> str:
    return str(name).lower().replace("_", "-").replace(".", "-")
