"""Whether a TensorFlow SavedModel runs known operations only, in every graph that it carries.

The operations of the graph, of each function and of graphs inside constants are held against the
allowlist. Operations that save and restore files are allowed in a saver's functions alone, and
only the saver may call these.

Source: tensorflow/core/protobuf/{saved_model,meta_graph,saver,saved_object_graph}.proto and
framework/{graph,function,node_def,attr_value,tensor}.proto.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.protobuf import BYTES, Field, Reader
from mlsecops.loading.formats.onnx import require_relative
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

_META_GRAPH: Final = 2
_META = {"graph": 2, "saver": 3, "signature": 5, "asset": 6, "objects": 7}
_GRAPH = {"node": 1, "library": 2}
_NODE = {"name": 1, "op": 2, "input": 3, "attribute": 5}
_VALUE = {"list": 1, "bytes": 2, "tensor": 8, "function": 10}
_TENSOR_STRINGS, _LIST_BYTES, _LIST_FUNCTIONS = 8, 2, 9
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+")
_OPERATION: Final = re.compile(r"[A-Za-z_]\w*(>\w+)*")
_FILES: Final[dict[str, frozenset[str]]] = {
    "save": frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"}),
    "restore": frozenset({"RestoreV2"}),
    "": frozenset(),
}
"""Operations on files that a saver's functions may run; restoring never writes."""
_SMALLEST_GRAPH: Final = 6


def examine_savedmodel(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check every operation, and what the objects' metadata would build.

    Args:
        source: `saved_model.pb`.
        limits: Ceilings.
        allowed: Operations allowed besides the list.

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: Too much is declared, or nested too deeply.
        UnsafeContent: An asset lies outside the model's folder.
    """
    findings: dict[tuple[str, str], Finding] = {}
    with source.stream() as stream:
        reader = Reader(stream, source.size, where=source.name, limits=limits)
        for meta in reader.fields(reader.whole):
            if meta.number == _META_GRAPH:
                walk = _MetaGraph(reader, source.name, frozenset(allowed) | listed("tensorflow"))
                for found in walk.findings(meta):
                    findings.setdefault((found.rule, found.message), found)
    return Examination(findings=tuple(findings.values()))


@dataclass(slots=True)
class _Node:
    """An operation; names may stand twice, so it is no key."""

    name: str = ""
    op: str = ""
    inputs: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Body:
    """What a graph or function consists of."""

    name: str
    nodes: list[_Node] = field(default_factory=list)
    nested: list[Field] = field(default_factory=list)


class _MetaGraph:
    """One pass over a MetaGraphDef."""

    def __init__(self, reader: Reader, artifact: str, allowed: Collection[str]) -> None:
        self._reader, self._artifact, self._allowed = reader, artifact, allowed

    def findings(self, meta: Field) -> Iterator[Finding]:
        """Everything that is refused."""
        parts: dict[int, list[Field]] = {}
        for found in self._reader.fields(meta, depth=1):
            parts.setdefault(found.number, []).append(found)
        if any(len(parts.get(_META[once], [])) > 1 for once in ("graph", "saver")):
            raise FormatRefused(f"{self._artifact}: a graph or a saver that stands twice")
        for asset in parts.get(_META["asset"], []):
            self._require_asset(asset)
        for graph in parts.get(_META["graph"], []):
            savers = {
                name for saver in parts.get(_META["saver"], []) for name in self._saver(saver)
            }
            outputs = {
                name for each in parts.get(_META["signature"], []) for name in self._outputs(each)
            }
            yield from self._graph(graph, savers, outputs, depth=2)
        for objects in parts.get(_META["objects"], []):
            yield from self._objects(objects)

    def _graph(
        self, graph: Field, savers: set[str], outputs: set[str], *, depth: int
    ) -> Iterator[Finding]:
        top = self._body(graph, _GRAPH["node"], depth, name="graph")
        functions = [*self._library(graph, depth)]
        # A name that an operation could have is no function that TensorFlow made.
        names = {body.name for body in functions if body.name.startswith("__")}
        own = {name for name in names if _SAVER.fullmatch(name)}
        yield from self._operations(top, names)
        for body in functions:
            match = _SAVER.fullmatch(body.name)
            yield from self._operations(body, names | _FILES[match[1] if match else ""])
            yield from self._reaches(body, own, frozenset())
        yield from self._reaches(top, own, savers)
        yield from self._leaks(top, savers & {node.name for node in top.nodes}, outputs)
        for body in (top, *functions):
            for inner in body.nested:
                yield from self._graph(inner, set(), set(), depth=depth + 2)

    def _operations(self, body: _Body, may: Collection[str]) -> Iterator[Finding]:
        for node in body.nodes:
            if node.op not in self._allowed and node.op not in may:
                message = (
                    f"runs operation {node.op}, which is not on the allowlist; "
                    f"if that is audited, name it in allow_globals=[{node.op!r}]"
                )
                yield self._finding("savedmodel-operation", message, f"{body.name}: {node.name}")

    def _reaches(self, body: _Body, own: set[str], may: Collection[str]) -> Iterator[Finding]:
        """Whatever but the saver calls the saver's functions."""
        for node in body.nodes:
            if node.calls & own and node.name not in may:
                message = f"{min(node.calls & own)} reads or writes files, and no saver calls it"
                yield self._finding("savedmodel-saver", message, f"{body.name}: {node.name}")

    def _leaks(self, top: _Body, savers: set[str], outputs: set[str]) -> Iterator[Finding]:
        """Whatever runs the saver when the model is asked for an answer."""
        for node in top.nodes:
            if node.name not in savers and node.inputs & savers:
                yield self._finding("savedmodel-saver", "runs the saver as its input", node.name)
        for name in outputs & savers:
            yield self._finding("savedmodel-saver", "a signature answers with the saver", name)

    def _body(self, message: Field, number: int, depth: int, *, name: str) -> _Body:
        body = _Body(name)
        for node in self._reader.fields(message, depth=depth):
            if node.number == number:
                body.nodes.append(self._node(node, body.nested, depth + 1))
        return body

    def _node(self, message: Field, nested: list[Field], depth: int) -> _Node:
        node = _Node()
        for found in self._reader.fields(message, depth=depth):
            if found.number == _NODE["name"]:
                node.name = self._reader.text(found)
            elif found.number == _NODE["op"]:
                node.op = self._reader.text(found)
            elif found.number == _NODE["input"]:
                node.inputs.add(self._reader.text(found).lstrip("^").partition(":")[0])
            elif found.number == _NODE["attribute"]:
                self._entry(found, node.calls, nested, depth + 1)
        node.calls.add(node.op)
        return node

    def _entry(self, entry: Field, calls: set[str], nested: list[Field], depth: int) -> None:
        for found in self._reader.fields(entry, depth=depth):
            if found.number == 2:  # noqa: PLR2004 - a map's value
                self._value(found, calls, nested, depth + 1)

    def _value(self, value: Field, calls: set[str], nested: list[Field], depth: int) -> None:
        for found in self._reader.fields(value, depth=depth):
            if found.number == _VALUE["bytes"]:
                self._perhaps_graph(found, nested, depth)
            elif found.number == _VALUE["function"]:
                self._function(found, calls, nested, depth + 1)
            elif found.number == _VALUE["tensor"]:
                self._strings(found, _TENSOR_STRINGS, nested, depth + 1)
            elif found.number == _VALUE["list"]:
                self._strings(found, _LIST_BYTES, nested, depth + 1)
                for inner in self._reader.fields(found, depth=depth + 1):
                    if inner.number == _LIST_FUNCTIONS:
                        self._function(inner, calls, nested, depth + 2)

    def _function(self, value: Field, calls: set[str], nested: list[Field], depth: int) -> None:
        for found in self._reader.fields(value, depth=depth):
            if found.number == 1:
                calls.add(self._reader.text(found))
            elif found.number == 2:  # noqa: PLR2004 - attributes of the function
                self._entry(found, calls, nested, depth + 1)

    def _strings(self, value: Field, number: int, nested: list[Field], depth: int) -> None:
        for found in self._reader.fields(value, depth=depth):
            if found.number == number and found.kind == BYTES:
                self._perhaps_graph(found, nested, depth)

    def _perhaps_graph(self, value: Field, nested: list[Field], depth: int) -> None:
        """Remember bytes that read as a whole graph with a node or a library."""
        if value.end - value.start < _SMALLEST_GRAPH:
            return
        try:
            numbers = {found.number for found in self._reader.fields(value, depth=depth)}
            if not numbers & {1, 2}:
                return
            body = self._body(value, _GRAPH["node"], depth, name="")
            inside = [*self._library(value, depth)]
        except FormatRefused:
            return
        if inside or any(_OPERATION.fullmatch(node.op) for node in body.nodes):
            nested.append(value)

    def _library(self, graph: Field, depth: int) -> Iterator[_Body]:
        for library in self._reader.fields(graph, depth=depth):
            if library.number != _GRAPH["library"]:
                continue
            for function in self._reader.fields(library, depth=depth + 1):
                if function.number == 1:
                    name = self._named(function, depth + 2)
                    yield self._body(function, 3, depth + 2, name=name)

    def _named(self, function: Field, depth: int) -> str:
        """Name of a function; of several, the last, as protocol buffers merge them."""
        found = ""
        for signature in self._reader.fields(function, depth=depth):
            if signature.number == 1:
                for name in self._reader.fields(signature, depth=depth + 1):
                    if name.number == 1:
                        found = self._reader.text(name)
        return found

    def _saver(self, saver: Field) -> Iterator[str]:
        for found in self._reader.fields(saver, depth=2):
            if found.number in {2, 3}:
                yield self._reader.text(found).partition(":")[0]

    def _outputs(self, entry: Field) -> Iterator[str]:
        for signature in self._reader.fields(entry, depth=2):
            if signature.number != 2:  # noqa: PLR2004 - a map's value
                continue
            for output in self._reader.fields(signature, depth=3):
                if output.number == 2:  # noqa: PLR2004 - outputs
                    yield from self._tensor_names(output)

    def _tensor_names(self, entry: Field) -> Iterator[str]:
        for info in self._reader.fields(entry, depth=4):
            if info.number == 2:  # noqa: PLR2004 - a map's value
                for found in self._reader.fields(info, depth=5):
                    if found.number == 1:
                        yield self._reader.text(found).partition(":")[0]

    def _require_asset(self, asset: Field) -> None:
        for found in self._reader.fields(asset, depth=2):
            if found.number == 2:  # noqa: PLR2004 - the asset's file name
                require_relative(
                    self._reader.text(found), artifact=self._artifact, tensor="an asset"
                )

    def _objects(self, objects: Field) -> Iterator[Finding]:
        """Metadata from which Keras 2 revives layers."""
        for node in self._reader.fields(objects, depth=2):
            if node.number != 1:
                continue
            for kind in self._reader.fields(node, depth=3):
                if kind.number == 4:  # noqa: PLR2004 - a user's object
                    for found in self._reader.fields(kind, depth=4):
                        if found.number == 3:  # noqa: PLR2004 - its metadata
                            yield from self._metadata(self._reader.text(found))

    def _metadata(self, text: str) -> Iterator[Finding]:
        try:
            value = json.loads(text or "{}")
        except (ValueError, RecursionError):
            return
        if _holds_lambda(value):
            message = "revives a Keras Lambda layer, whose code stands in the metadata"
            yield self._finding("keras-lambda", message, "metadata of an object")

    def _finding(self, rule: str, message: str, where: str) -> Finding:
        return Finding(
            rule=rule,
            severity=Severity.CRITICAL,
            message=message,
            where=where,
            artifact=self._artifact,
        )


def _holds_lambda(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if item.get("class_name") in {"Lambda", "__lambda__"}:
                return True
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False
