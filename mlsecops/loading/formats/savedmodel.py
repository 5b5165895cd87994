"""TensorFlow SavedModel scanner: allowlisted operations in every graph, function and constant.

Operations that save and restore files are allowed in a saver's functions only, and only the saver
may call these.

Source: `tensorflow/core/protobuf/{saved_model,meta_graph,saver,saved_object_graph}.proto` and
`tensorflow/core/framework/{graph,function,node_def,attr_value,tensor}.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.protobuf import BYTES, Field, ProtobufReader
from mlsecops.loading.formats.checkpoints.graph_saver import SAVER_OPERATIONS, contained
from mlsecops.loading.formats.onnx import require_relative
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, unlisted

# Field numbers; a map is a repeated message of key 1 and value 2.
_META_GRAPH: Final = 2  # field number in SavedModel
_META: Final = {
    "graph": 2, "saver": 3, "collection": 4, "signature": 5, "asset": 6, "objects": 7,
}  # fmt: skip
_GRAPH_NODE, _GRAPH_FUNCTIONS, _FUNCTION_NAME, _FUNCTION_NODE = 1, (2, 1), (1, 1), 3
_NODE: Final = {"name": 1, "op": 2, "input": 3, "attribute": 5}
_VALUE: Final = {"list": 1, "bytes": 2, "tensor": 8, "function": 10}
_CALL: Final = {"name": 1, "attribute": 2}
_TENSOR_STRINGS, _LIST_BYTES, _LIST_FUNCTIONS, _MAP_VALUE = 8, 2, 9, 2
_SAVER_TENSORS: Final = (2, 3)  # save_tensor_name, restore_op_name
_OUTPUT_NAME: Final = (_MAP_VALUE, 2, _MAP_VALUE, 1)  # SignatureDef.outputs → TensorInfo.name
_COLLECTION_NODES: Final = (_MAP_VALUE, 1, 1)  # CollectionDef.node_list.value
_ASSET_FILE: Final = 2  # field number in AssetFileDef
_METADATA: Final = (1, 4, 3)  # nodes → user_object → metadata
_SAVER: Final = re.compile(r"__inference__traced_(save|restore)_\d+")
_OPERATION: Final = re.compile(r"[A-Za-z_]\w*(>\w+)*")
_FILES: Final[dict[str, frozenset[str]]] = {
    "save": frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"}),
    "restore": frozenset({"RestoreV2"}),
    "": frozenset(),
}
"""Operations on files that a saver's functions may run; restoring does not write."""
_SMALLEST_GRAPH: Final = 6  # bytes; a graph whose one node has an operation of one letter has more


def examine_savedmodel(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check operations and the objects' metadata; `allowed`: operations."""
    findings: dict[tuple[str, str], Finding] = {}
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        for meta in reader.select(reader.whole, _META_GRAPH, depth=0):
            walk = MetaGraph(reader, source.name, frozenset(allowed) | listed("tensorflow"))
            for found in walk.findings(meta):
                findings.setdefault((found.rule, found.message), found)
    return Examination(findings=tuple(findings.values()))


@dataclass(slots=True)
class _Node:
    """An operation; its name need not be unique."""

    name: str = ""
    op: str = ""
    inputs: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Body:
    """Operations of a graph or function, and the graphs inside its constants."""

    name: str
    nodes: list[_Node] = field(default_factory=list)
    nested: list[Field] = field(default_factory=list)


class MetaGraph:
    """One pass over a MetaGraphDef.

    Attributes:
        operations: Names of those that were met.
    """

    def __init__(self, reader: ProtobufReader, artifact: str, allowed: Collection[str]) -> None:
        self._reader, self._artifact, self._allowed = reader, artifact, allowed
        self.operations: set[str] = set()
        self._ends: tuple[set[str], set[str], set[str]] = (set(), set(), set())

    def graph_findings(self, graph: Field) -> Iterator[Finding]:
        """What is refused of a graph that stands for itself."""
        yield from self._graph(graph, set(), set(), depth=1)

    def findings(self, meta: Field) -> Iterator[Finding]:
        """Everything that is refused."""
        parts: dict[int, list[Field]] = {number: [] for number in _META.values()}
        for found in self._reader.fields(meta, depth=1):
            if found.number in parts:
                parts[found.number].append(found)
        graphs, savers = parts[_META["graph"]], parts[_META["saver"]]
        if max(len(graphs), len(savers)) > 1:
            raise FormatRefused(f"{self._artifact}: expected one graph and one saver, got more")
        for asset in parts[_META["asset"]]:
            for name in self._texts(asset, _ASSET_FILE):
                require_relative(name, artifact=self._artifact, tensor="an asset")
        for graph in graphs:
            ends = [self._names(savers, number) for number in _SAVER_TENSORS]
            outputs = self._names(parts[_META["signature"]], *_OUTPUT_NAME)
            entries = outputs | self._names(parts[_META["collection"]], *_COLLECTION_NODES)
            self._ends = ends[0], ends[1], entries
            yield from self._graph(graph, ends[0] | ends[1], outputs, depth=2)
        for objects in parts[_META["objects"]]:
            for text in self._texts(objects, *_METADATA):
                yield from self._metadata(text)

    def _names(self, messages: list[Field], *numbers: int) -> set[str]:
        """Operations that fields of messages name."""
        return {_operation(name) for each in messages for name in self._texts(each, *numbers)}

    def _texts(self, message: Field, *numbers: int) -> Iterator[str]:
        return map(self._reader.text, self._reader.select(message, *numbers, depth=2))

    def _graph(
        self, graph: Field, savers: set[str], outputs: set[str], *, depth: int
    ) -> Iterator[Finding]:
        top = self._body(graph, _GRAPH_NODE, depth, name="graph")
        functions = [*self._library(graph, depth)]
        # A name that an operation could have is not one that TensorFlow gives a function.
        names = {body.name for body in functions if body.name.startswith("__")}
        own = {name for name in names if _SAVER.fullmatch(name)}
        yield from self._operations(top, names | self._saver_in(top, savers))
        for body in functions:
            match = _SAVER.fullmatch(body.name)
            yield from self._operations(body, names | _FILES[match[1] if match else ""])
            yield from self._saver_calls(body, own, frozenset())
        yield from self._saver_calls(top, own, savers)
        yield from self._saver_uses(top, savers & {node.name for node in top.nodes}, outputs)
        for body in (top, *functions):
            for inner in body.nested:
                yield from self._graph(inner, set(), set(), depth=depth + 2)

    def _saver_in(self, top: _Body, savers: set[str]) -> frozenset[str]:
        """Operations on files that a saver in the main graph may run (TensorFlow 1)."""
        names = {node.name for node in top.nodes}
        if not savers or len(names) != len(top.nodes):
            return frozenset()
        saving, restoring, entries = self._ends
        alone = contained(
            {node.name: node.op for node in top.nodes},
            {node.name: node.inputs for node in top.nodes},
            saving=saving,
            restoring=restoring,
            entries=entries,
        )
        return SAVER_OPERATIONS if alone else frozenset()

    def _operations(self, body: _Body, may: Collection[str]) -> Iterator[Finding]:
        for node in body.nodes:
            self.operations.add(node.op)
            if node.op not in self._allowed and node.op not in may:
                yield unlisted(
                    "savedmodel-operation",
                    f"runs operation {node.op}, which is not on the allowlist",
                    node.op,
                    where=f"{body.name}: {node.name}",
                    artifact=self._artifact,
                )

    def _saver_calls(self, body: _Body, own: set[str], may: Collection[str]) -> Iterator[Finding]:
        """Calls of the saver's functions by other operations than the saver."""
        for node in body.nodes:
            if node.calls & own and node.name not in may:
                message = f"{min(node.calls & own)} reads or writes files, and no saver calls it"
                yield self._finding(message, f"{body.name}: {node.name}")

    def _saver_uses(self, top: _Body, savers: set[str], outputs: set[str]) -> Iterator[Finding]:
        """Operations and outputs that run the saver when the model is called."""
        for node in top.nodes:
            if node.name not in savers and node.inputs & savers:
                yield self._finding("runs the saver as its input", node.name)
        for name in outputs & savers:
            yield self._finding("a signature answers with the saver", name)

    def _body(self, message: Field, number: int, depth: int, *, name: str) -> _Body:
        body = _Body(name)
        for node in self._reader.select(message, number, depth=depth):
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
                node.inputs.add(_operation(self._reader.text(found).lstrip("^")))
            elif found.number == _NODE["attribute"]:
                self._entry(found, node.calls, nested, depth + 1)
        node.calls.add(node.op)
        return node

    def _entry(self, entry: Field, calls: set[str], nested: list[Field], depth: int) -> None:
        for value in self._reader.select(entry, _MAP_VALUE, depth=depth):
            self._value(value, calls, nested, depth + 1)

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
                for inner in self._reader.select(found, _LIST_FUNCTIONS, depth=depth + 1):
                    self._function(inner, calls, nested, depth + 2)

    def _function(self, value: Field, calls: set[str], nested: list[Field], depth: int) -> None:
        for found in self._reader.fields(value, depth=depth):
            if found.number == _CALL["name"]:
                calls.add(self._reader.text(found))
            elif found.number == _CALL["attribute"]:
                self._entry(found, calls, nested, depth + 1)

    def _strings(self, value: Field, number: int, nested: list[Field], depth: int) -> None:
        for found in self._reader.select(value, number, depth=depth):
            if found.kind == BYTES:
                self._perhaps_graph(found, nested, depth)

    def _perhaps_graph(self, value: Field, nested: list[Field], depth: int) -> None:
        """Collect bytes that parse as a whole graph with a node or a library."""
        if value.end - value.start < _SMALLEST_GRAPH:
            return
        try:
            numbers = {found.number for found in self._reader.fields(value, depth=depth)}
            if not numbers & {_GRAPH_NODE, _GRAPH_FUNCTIONS[0]}:
                return
            body = self._body(value, _GRAPH_NODE, depth, name="")
            inside = [*self._library(value, depth)]
        except FormatRefused:
            return
        if inside or any(_OPERATION.fullmatch(node.op) for node in body.nodes):
            nested.append(value)

    def _library(self, graph: Field, depth: int) -> Iterator[_Body]:
        for function in self._reader.select(graph, *_GRAPH_FUNCTIONS, depth=depth):
            name = self._reader.last_text(function, *_FUNCTION_NAME, depth=depth + 2)
            yield self._body(function, _FUNCTION_NODE, depth + 2, name=name)

    def _metadata(self, text: str) -> Iterator[Finding]:
        """Lambda layers in metadata, from which Keras 2 revives layers."""
        what = f"{self._artifact}: metadata of an object"
        try:
            value = parse_json(text or "{}", what=what, error=FormatRefused, constants=True)
        except FormatRefused as error:
            if isinstance(error.__cause__, JSONDecodeError):
                return  # Keras cannot read it either
            raise
        if _holds_lambda(value):
            message = "revives a Keras Lambda layer, whose code is in the metadata"
            yield self._finding(message, "metadata of an object", rule="keras-lambda")

    def _finding(self, message: str, where: str, *, rule: str = "savedmodel-saver") -> Finding:
        return Finding(
            rule=rule,
            severity=Severity.CRITICAL,
            message=message,
            where=where,
            artifact=self._artifact,
        )


def _operation(tensor: str) -> str:
    """Name of the operation that gives a tensor: `name:0` → `name`."""
    return tensor.partition(":")[0]


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
