"""Consistency of a bill of materials: what the schema allows and yet contradicts itself.

objects of the bill → rule, message and place of each contradiction: dependencies stated twice or on
themselves, measurements out of range, digests that disagree, licence expressions that do not parse

Source: CycloneDX 1.6 and 1.7, dependencies, performanceMetrics, hashes, licenses; SPDX
specification 2.3, annex D.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlsecops.reports.bom.licenses import is_expression
from mlsecops.reports.bom.nodes import BomNode
from mlsecops.reports.redaction import shown

_Problem = tuple[str, str, str]

_SHARES: Final = (
    "accuracy",
    "precision",
    "recall",
    "f1",
    "auc",
    "auroc",
    "sensitivity",
    "specificity",
    "rate",
    "share",
)
"""Words in the type of a metric that is a share between 0 and 1."""
_ROUNDING: Final = 1e-6  # share; figures are written with six decimals


def contradictions(nodes: list[BomNode]) -> Iterator[_Problem]:
    """The contradictions in the objects of a bill."""
    yield from _dependencies(nodes)
    for node in nodes:
        if ".performanceMetrics[" in node.path and node.path.endswith("]"):
            yield from _metric(node)
        yield from _digests(node)
        yield from _version(node)
        yield from _count(node)
        yield from _licenses(node)


def _dependencies(nodes: list[BomNode]) -> Iterator[_Problem]:
    seen: dict[str, str] = {}
    for node in nodes:
        if not node.path.startswith("dependencies["):
            continue
        reference = str(node.value.get("ref"))
        if reference in seen:
            message = f"{shown(reference)!r} has its dependencies twice ({seen[reference]} and"
            yield "duplicate-dependency", f"{message} {node.path}); state them once", node.path
        seen.setdefault(reference, node.path)
        for key in ("dependsOn", "provides"):
            needs = node.value.get(key)
            if isinstance(needs, list) and reference in needs:
                message = f"{shown(reference)!r} is its own dependency; remove it"
                yield "self-dependency", message, f"{node.path}.{key}"


def _metric(node: BomNode) -> Iterator[_Problem]:
    kind = str(node.value.get("type")).lower()
    value = _number(node.value.get("value"))
    interval = node.value.get("confidenceInterval")
    interval = interval if isinstance(interval, Mapping) else {}
    low, high = _number(interval.get("lowerBound")), _number(interval.get("upperBound"))
    figures = [each for each in (value, low, high) if each is not None]
    is_share = any(word in kind.replace("-", " ").replace("_", " ").split() for word in _SHARES)
    if any(not math.isfinite(each) or (is_share and not 0 <= each <= 1) for each in figures):
        got = shown(node.value.get("value"))
        message = f"{shown(kind)}: expected a share between 0 and 1, got {got}; correct it"
        yield "metric-range", message, node.path
    if low is not None and high is not None and low > high:
        message = f"{shown(kind)}: expected a lower bound below the upper, got {low} and {high}"
        yield "metric-interval", message, f"{node.path}.confidenceInterval"
    elif value is not None and (
        (low is not None and value < low - _ROUNDING)
        or (high is not None and value > high + _ROUNDING)
    ):
        message = f"{shown(kind)}: expected a value within its bounds, got {value}"
        yield "metric-interval", message, f"{node.path}.confidenceInterval"


def _number(value: Any) -> float | None:
    text = str(value).strip()
    scale = 100.0 if text.endswith("%") else 1.0
    try:
        return float(text.removesuffix("%")) / scale
    except ValueError:
        return None


def _digests(node: BomNode) -> Iterator[_Problem]:
    known: dict[str, set[str]] = {}
    for algorithm, content in (*_hashes(node.value), *_stated(node.value)):
        known.setdefault(algorithm, set()).add(content)
    for algorithm, contents in sorted(known.items()):
        if len(contents) > 1:
            name = shown(node.value.get("name") or node.path)
            message = f"{name}: expected one {algorithm} digest, got {len(contents)}; keep the"
            yield "hash-contradiction", f"{message} right one", node.path


def _version(node: BomNode) -> Iterator[_Problem]:
    """A version that is a digest, shortened, of which the component's hashes know nothing."""
    version = node.value.get("version")
    algorithm, _, begin = (version if isinstance(version, str) else "").lower().partition(":")
    known = [content for name, content in _hashes(node.value) if name == algorithm]
    if known and not any(begin and each.startswith(begin) for each in known):
        name = shown(node.value.get("name") or node.path)
        message = f"{name}: expected the version to begin its digest, got {shown(version)!r}"
        yield "hash-contradiction", f"{message}; correct it", f"{node.path}.version"


def _count(node: BomNode) -> Iterator[_Problem]:
    """A number of parts that is not that of the parts which are listed."""
    listed = node.value.get("components")
    stated = {str(value) for value in _property(node.value, "mlsecops:parts")}
    if isinstance(listed, list) and listed and stated - {str(len(listed))}:
        name = shown(node.value.get("name") or node.path)
        message = f"{name}: expected {len(listed)} parts, those listed, got {shown(min(stated))}"
        yield "parts-contradiction", f"{message}; correct it", f"{node.path}.properties"


def _hashes(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rows = value.get("hashes")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping):
            algorithm = str(row.get("alg")).lower().replace("-", "")
            yield algorithm, str(row.get("content")).lower()


def _stated(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The digest that the property `mlsecops:digest` of a component repeats."""
    for stated in _property(value, "mlsecops:digest"):
        algorithm, _, content = str(stated).partition(":")
        yield algorithm.lower().replace("-", ""), content.lower()


def _property(value: Mapping[str, Any], name: str) -> Iterator[Any]:
    rows = value.get("properties")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row.get("name") == name:
            yield row.get("value")


def _licenses(node: BomNode) -> Iterator[_Problem]:
    rows = node.value.get("licenses")
    for row in rows if isinstance(rows, list) else ():
        text = row.get("expression") if isinstance(row, Mapping) else None
        if isinstance(text, str) and not is_expression(text):
            message = f"{shown(text)!r} is no SPDX licence expression; correct it"
            yield "license-invalid", message, f"{node.path}.licenses"
