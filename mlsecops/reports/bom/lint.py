"""Lint of a CycloneDX bill of materials: schema, references, digests, purls, secrets, figures.

parsed bill → Findings of high severity, which name the component and print no secret

Source: OWASP CycloneDX 1.6 and 1.7 (ECMA-424); ECMA-427, Package-URL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._json import deeper_than
from mlsecops._secrets import secrets_in
from mlsecops.findings import Finding, Severity
from mlsecops.reports.bom.consistency import contradictions
from mlsecops.reports.bom.nodes import MAX_DEPTH, BomNode, called, is_component, walk
from mlsecops.reports.redaction import shown

NEED_HASHES: Final = ("machine-learning-model", "data", "file")
"""Types of component that need a digest."""

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
"""CycloneDX hash algorithm → hex digits of its digests."""
_WEAK: Final = ("MD5", "SHA-1")
_VERSIONS: Final = ("1.6", "1.7")
_MOST_SCHEMA_ERRORS: Final = 20  # findings; chosen: the rest of a broken bill is not listed
_REFERENCE_LISTS: Final = ("dependsOn", "provides", "assemblies", "dependencies", "subjects")
_DECLARED: Final = ("target", "assessor", "requirement", "claims", "counterClaims", "evidence",
                    "counterEvidence", "mitigationStrategies")  # fmt: skip
"""Fields that hold references, within `declarations`."""


@checked
def lint_bom(bom: Mapping[str, Any], *, artifact: str = "bom") -> list[Finding]:
    """The errors of a bill of materials, as findings.

    Args:
        bom: Parsed JSON of a CycloneDX bill.
        artifact: Path or name of the bill, for the findings.

    Raises:
        MissingExtra: The extra `bom` (schema and purl validation) is not installed.

    Examples:
        >>> [each.rule for each in lint_bom({"specVersion": "1.2"})]
        ['bom-version', 'model-absent']
    """
    findings = [
        _finding(rule, message, where, artifact)
        for rule, message, where in (*_schema(bom), *_structure(bom))
    ]
    return sorted(findings, key=lambda each: (each.rule, each.where, each.message))


_Problem = tuple[str, str, str]


def _finding(rule: str, message: str, where: str, artifact: str) -> Finding:
    return Finding(
        rule=rule, severity=Severity.HIGH, message=message, where=shown(where), artifact=artifact
    )


def _schema(bom: Mapping[str, Any]) -> Iterator[_Problem]:
    if deeper_than(MAX_DEPTH, bom):
        yield "bom-schema", f"the bill: expected at most {MAX_DEPTH} levels of nesting", ""
        return
    version = bom.get("specVersion")
    if version not in _VERSIONS:
        message = f"specVersion: expected 1.6 or 1.7, got {shown(version)}"
        yield "bom-version", message, "specVersion"
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
    yield from contradictions(nodes)
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
            message = f"bom-ref {shown(reference)!r} is used {len(paths)} times ({places})"
            yield "duplicate-ref", f"{message}; make each unique", paths[1]


def _dangling(nodes: list[BomNode]) -> Iterator[_Problem]:
    known = _references(nodes)
    for node in nodes:
        for key, target in _pointers(node):
            if target not in known and not target.startswith("urn:cdx:"):
                place = f"{node.path}.{key}"
                yield "dangling-ref", f"{shown(place)}: no component is {shown(target)!r}", place


def _pointers(node: BomNode) -> Iterator[tuple[str, str]]:
    if isinstance(node.value.get("ref"), str):
        yield "ref", node.value["ref"]
    declared = _DECLARED if node.path.startswith("declarations") else ()
    for key in (*_REFERENCE_LISTS, *declared):
        listed = node.value.get(key)
        for target in listed if isinstance(listed, list) else [listed]:
            if isinstance(target, str):
                yield key, target


def _secrets(nodes: list[BomNode]) -> Iterator[_Problem]:
    for node in nodes:
        for key, value in node.value.items():
            texts = value if isinstance(value, list) else [value]
            kinds = {kind for text in texts if isinstance(text, str) for kind in secrets_in(text)}
            for kind in sorted(kinds):
                place = f"{shown(node.path)}.{shown(key)}"
                message = f"{place} may hold a secret ({kind}); remove it and revoke it"
                yield "secret", message, f"{node.path}.{key}"


def _model_card(node: BomNode) -> Iterator[_Problem]:
    kind = node.value.get("type")
    if "modelCard" in node.value and kind != "machine-learning-model":
        message = f"{called(node.value)}: expected no modelCard on a {shown(kind)}; remove it"
        yield "model-card", message, node.path


def _hashes(node: BomNode) -> Iterator[_Problem]:
    listed = node.value.get("hashes")
    hashes = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    strong = [each for each in hashes if each.get("alg") not in _WEAK]
    if node.value.get("type") in NEED_HASHES and not strong:
        message = f"{called(node.value)} has no digest stronger than SHA-1; add one"
        yield "hash-absent", message, node.path
    for each in hashes:
        algorithm, content = each.get("alg"), each.get("content")
        expected = _LENGTHS.get(algorithm) if isinstance(algorithm, str) else None
        if not isinstance(content, str) or len(content) != expected:
            got = len(content) if isinstance(content, str) else "none"
            message = f"{called(node.value)}: expected {expected} hex digits of {shown(algorithm)}"
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
    version = node.value.get("version") or None
    same = _plain(unquote(parsed.name)) == _plain(node.value.get("name"))
    if parsed.type == "pypi" and not (same and parsed.version == version):
        message = f"{called(node.value)} {shown(node.value.get('version'))}: expected its own"
        yield "purl-mismatch", f"{message} package URL, got {shown(purl)!r}", f"{node.path}.purl"


def _parsed(purl: object) -> Any | None:
    """The parsed package URL, or None if it is not canonical."""
    library = require("packageurl").PackageURL
    try:
        parsed = library.from_string(purl)
    except (ValueError, TypeError, AttributeError):
        return None
    canonical = unquote(parsed.to_string()).lower() == unquote(str(purl)).lower()
    return parsed if canonical and parsed.type and parsed.name else None


def _plain(name: object) -> str:
    return str(name).lower().replace("_", "-").replace(".", "-")
