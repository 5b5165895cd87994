"""Whether a skops archive builds only known classes, in the ways that their kind is built.

Source: skops `io/_general.py`, `_numpy.py`, `_scipy.py`, `_sklearn.py`: each node of
`schema.json` names its loader, and the loader decides what is called.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.formats.numpy import require_plain
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

SCHEMA: Final = "schema.json"
LOADERS: Final = frozenset(
    {
        "BytearrayNode", "BytesNode", "CachedNode", "DTypeNode",
        "DefaultDictNode", "DictNode", "FunctionNode", "JsonNode", "ListNode", "LossNode",
        "MaskedArrayNode", "NdArrayNode", "ObjectNode", "PartialNode", "RandomGeneratorNode",
        "RandomStateNode", "SetNode", "SliceNode", "SparseMatrixNode", "TreeNode", "TupleNode",
        "TypeNode", "_DictWithDeprecatedKeysNode",
    }
)  # fmt: skip
"""Loaders that build what their class says. `MethodNode` and `OperatorFuncNode` get attributes
by name, which is another way to reach a callable (CVE-2025-54412 and 54413), and
`ConstructorFromReduceNode` calls with any arguments."""


def examine_skops(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check the schema's classes and the arrays.

    Args:
        source: The archive.
        limits: Ceilings.
        allowed: Exact qualified names.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It is nested too deeply, or declares too much.
        UnsafeContent: An array holds pickles.
    """
    with archive(source, limits=limits) as opened:
        schema = _parse(opened.read(SCHEMA, limits=limits), source.name)
        for name, entry in opened.entries.items():
            if name.endswith(".npy"):
                with opened.stream(name) as stream:
                    require_plain(stream, entry.size, f"{source.name}: {name}")
    found = dict(_walk(schema, source.name, allowed, limits))
    return Examination(findings=tuple(found.values()))


def _parse(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{where}: {SCHEMA} is not JSON: {error}") from error


def _walk(
    schema: Any, artifact: str, allowed: Collection[str], limits: Limits
) -> Iterator[tuple[str, Finding]]:
    pending = [(schema, "", 0)]
    while pending:
        node, at, depth = pending.pop()
        if depth > limits.depth:
            raise LimitExceeded(f"{artifact}: {at}: nested deeper than {limits.depth}")
        if isinstance(node, dict):
            if "__loader__" in node or "__class__" in node:
                yield from _node(node, at or "the root", artifact, allowed)
            pending += [(inner, f"{at}.{key}", depth + 1) for key, inner in node.items()]
        elif isinstance(node, list):
            pending += [(inner, f"{at}[{n}]", depth + 1) for n, inner in enumerate(node)]


def _node(
    node: dict[str, Any], at: str, artifact: str, allowed: Collection[str]
) -> Iterator[tuple[str, Finding]]:
    loader = node.get("__loader__")
    name = f"{node.get('__module__')}.{node.get('__class__')}"
    reason = None
    if loader not in LOADERS:
        reason = f"is built by {loader}, which does more than build its class"
        target = f"skops.{loader}"
    elif name not in allowed:
        reason = f"builds {name}, which is not on the allowlist"
        target = name
    if reason is not None and target not in allowed:
        yield (
            name,
            Finding(
                rule="skops-object",
                severity=Severity.CRITICAL,
                message=f"{reason}; if that is audited, name it in allow_globals=[{target!r}]",
                where=at,
                artifact=artifact,
            ),
        )
