"""Skops archive scanner: allowlisted classes and loaders, plain arrays, and states inside them.

Source: skops `io/_general.py`, `_numpy.py`, `_scipy.py`, `_sklearn.py`: each node of
`schema.json` names its loader, and the loader decides what is called.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.formats.json_walk import objects
from mlsecops.loading.formats.numpy import require_plain_arrays
from mlsecops.loading.formats.skops_states import SkopsStates
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked, unlisted

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
"""Loaders that build the class they name. `MethodNode` and `OperatorFuncNode` get attributes
by name, which reaches other callables (CVE-2025-54412 and 54413), and
`ConstructorFromReduceNode` calls with any arguments."""


def examine_skops(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Check the schema's classes, the arrays, and the states of compiled classes."""
    allowed = pickle_globals() | frozenset(audited)
    with archive(source, limits=limits) as opened:
        text, what = opened.read(SCHEMA, limits=limits), f"{source.name}: {SCHEMA}"
        schema = parse_json(text, what=what, error=FormatRefused, constants=True)
        arrays = [name for name in opened.entries if name.endswith(".npy")]
        headers = require_plain_arrays(opened, arrays, source.name)
        states = SkopsStates(opened, headers, source, limits, audited)
        nodes = list(objects(schema, "", depth=limits.depth, artifact=source.name))
        states.check(schema)
    found: dict[str, Finding] = {}
    for node, at in nodes:
        if lie := states.problems.get(id(node)):
            found.setdefault(lie, _state(lie, where=str(at) or "the root", artifact=source.name))
        if "__loader__" in node or "__class__" in node:
            problem, name = _problem(node)
            if name not in allowed:
                where = str(at) or "the root"
                found[_class(node)] = unlisted(
                    "skops-object", problem, name, where=where, artifact=source.name
                )
    unchecked = tuple(Unchecked(what=source.name, why=each) for each in states.unusual)
    return Examination(findings=tuple(found.values()), unchecked=unchecked)


def _state(problem: str, *, where: str, artifact: str) -> Finding:
    return Finding(
        rule="skops-state",
        severity=Severity.HIGH,
        message=problem,
        where=where,
        artifact=artifact,
    )


def _problem(node: dict[str, Any]) -> tuple[str, str]:
    """What a node would do, and the name to allow for it."""
    loader, name = node.get("__loader__"), _class(node)
    if loader not in LOADERS:
        return f"is built by {loader}, which does more than build its class", f"skops.{loader}"
    return f"builds {name}, which is not on the allowlist", name


def _class(node: dict[str, Any]) -> str:
    return f"{node.get('__module__')}.{node.get('__class__')}"
