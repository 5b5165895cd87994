"""Installed distributions as resource descriptors.

`importlib.metadata` → purl, digest of RECORD, declared licences, requirements that are installed
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any, Final

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Name at the start of a requirement (PyPA specifications, Names and normalization)."""
_LONGEST: Final = 120  # characters; chosen: a longer `License` field is the licence's text
_CLASSIFIER: Final = "License :: "
_GENERIC: Final = frozenset({"License :: OSI Approved", "License :: Other/Proprietary License"})
_NO_LICENSE: Final = frozenset({"UNKNOWN", "LICENSE", "DUAL LICENSE"})


@cache
def packages() -> tuple[Mapping[str, Any], ...]:
    """Installed distributions as resource descriptors, sorted by name.

    Each has its purl as `uri`, the SHA-256 of its RECORD, and as annotations its declared
    `licenses` and the names of the installed distributions that it `requires`, extras included.

    Source: SLSA provenance v1, `resolvedDependencies`; PyPA Core metadata, `License-Expression`,
    `License`, `Classifier`, `Requires-Dist`.
    """
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = normalized(_field(distribution, "Name"))
        if name:
            found.setdefault(name, distribution)
    return tuple(_descriptor(name, found[name], found.keys()) for name in sorted(found))


def normalized(name: str) -> str:
    """The normalized name of a distribution.

    Source: PyPA specifications, Names and normalization (PEP 503).

    Examples:
        >>> normalized("Flask_SQLAlchemy")
        'flask-sqlalchemy'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _descriptor(
    name: str, distribution: metadata.Distribution, installed: Iterable[str]
) -> dict[str, Any]:
    known = set(installed) - {name}
    needs = {_required(each) for each in distribution.requires or ()} & known
    annotations: dict[str, Any] = {"requires": sorted(needs)}
    licenses = declared_licenses(distribution)
    if licenses:
        annotations["licenses"] = list(licenses)
    descriptor: dict[str, Any] = {"uri": f"pkg:pypi/{name}@{distribution.version}"}
    record = distribution.read_text("RECORD")
    if record:
        descriptor["digest"] = {"sha256": hashlib.sha256(record.encode()).hexdigest()}
        annotations["digestOf"] = "RECORD"
    return {**descriptor, "annotations": annotations}


def declared_licenses(distribution: metadata.Distribution) -> tuple[str, ...]:
    """Licences that a distribution declares: its expression, its licence field, or classifiers."""
    for field in ("License-Expression", "License"):
        text = " ".join(_field(distribution, field).split())
        if text and text.upper() not in _NO_LICENSE and len(text) <= _LONGEST:
            return (text,)
    classifiers = [str(each) for each in distribution.metadata.get_all("Classifier") or ()]
    return tuple(
        each.rpartition(" :: ")[2]
        for each in classifiers
        if each.startswith(_CLASSIFIER) and each not in _GENERIC
    )


def _field(distribution: metadata.Distribution, name: str) -> str:
    """The first value of a field, or nothing: some backports raise KeyError for an absent one."""
    values = distribution.metadata.get_all(name) or [""]
    return str(values[0] or "")


def _required(requirement: str) -> str:
    match = _NAME.match(requirement.strip())
    return "" if match is None else normalized(match[0])
