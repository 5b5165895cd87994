"""ONNX Runtime format scanner: operator domains of the graph and of the graphs inside it.

Source: ONNX Runtime `onnxruntime/core/flatbuffers/schema/ort.fbs`.
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops.errors import LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.flatbuffers import FlatTables, flat_tables
from mlsecops.loading.formats.onnx import CONTEXT_OPERATOR, DOMAINS, compiled_context
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked, unlisted

_MODEL, _GRAPH, _NODES = 1, 7, 2
_NODE_DOMAIN, _NODE_OPERATOR, _NODE_ATTRIBUTES = 2, 5, 10
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 7, 12


def examine_ort(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check the nodes of each graph; `allowed`: operator domains."""
    findings: dict[tuple[str, str], Finding] = {}
    unchecked: list[Unchecked] = []
    with flat_tables(source, limits) as tables:
        model = tables.table(tables.root(), _MODEL)
        graph = None if model is None else tables.table(model, _GRAPH)
        pending = [] if graph is None else [(graph, 0)]
        while pending:
            graph, depth = pending.pop()
            if depth > limits.depth:
                raise LimitExceeded(f"{source.name}: graphs nested deeper than {limits.depth}")
            for node in tables.tables(graph, _NODES):
                key = tables.text(node, _NODE_DOMAIN), tables.text(node, _NODE_OPERATOR)
                pending += [(each, depth + 1) for each in _inner(tables, node)]
                if key[1] == CONTEXT_OPERATOR:
                    unchecked.append(compiled_context(source.name))
                elif key[0] not in DOMAINS and key[0] not in allowed:
                    findings[key] = unlisted(
                        "onnx-operator",
                        f"uses operator {key[1][:80]!r} of domain {key[0][:80]!r}, which a library "
                        "outside the file implements",
                        key[0][:200],
                        where=key[1][:80],
                        artifact=source.name,
                        severity=Severity.HIGH,
                    )
    return Examination(findings=tuple(findings.values()), unchecked=tuple(unchecked))


def _inner(tables: FlatTables, node: int) -> list[int]:
    found = []
    for attribute in tables.tables(node, _NODE_ATTRIBUTES):
        if (graph := tables.table(attribute, _ATTRIBUTE_GRAPH)) is not None:
            found.append(graph)
        found += tables.tables(attribute, _ATTRIBUTE_GRAPHS)
    return found
