"""ONNX model scanner: known operators, tensors of the declared size, external data in the folder.

Source: `onnx/onnx.proto`, IR version 13; external data as in onnx `docs/ExternalData.md`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Final

from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.protobuf import VARINT, Field, ProtobufReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, ExternalData, Unchecked, unlisted

DOMAINS: Final = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview",
        "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc",
    }
)  # fmt: skip
"""Domains of operators that ONNX defines or ONNX Runtime includes; any other needs a library."""
_BITS: Final = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""TensorProto.DataType → bits of an element."""
_LONGEST: Final = 4096  # bytes of a path; PATH_MAX of Linux
_LARGEST: Final = 1 << 63  # elements; onnx.proto, dimensions are int64
_EXTERNAL: Final = 1  # TensorProto.DataLocation
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_CHILDREN: Final = {
    "model": {7: "graph", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Message → numbers of the fields to visit, and the messages in them."""
_MODEL_FUNCTION: Final = 25  # field number
_NODE: Final = {"op": 4, "attribute": 5, "domain": 7}
_FUNCTION: Final = {"name": 1, "domain": 10}
_ATTRIBUTE: Final = {"name": 1, "number": 3, "text": 4}
CONTEXT_OPERATOR: Final = "EPContext"
"""Operator of ONNX Runtime whose attribute holds compiled code, or a path to it."""
_CONTEXT: Final = "ep_cache_context"
_EMBEDDED: Final = "embed_mode"
_TENSOR: Final = {"dims": 1, "kind": 2, "name": 8, "raw": 9, "external": 13, "location": 14}


def examine_onnx(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check operators, tensors and external data; `allowed`: operator domains."""
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        walk = _Walk(reader, source.name, limits, allowed)
        walk.model()
    return Examination(
        findings=tuple(walk.findings.values()),
        unchecked=(compiled_context(source.name),) if walk.compiled else (),
        external=tuple(walk.external),
    )


def compiled_context(where: str) -> Unchecked:
    """What is said of code that was compiled for an accelerator."""
    return Unchecked(what=where, why="an EPContext: code that was compiled for an accelerator")


class _Walk:
    """One pass over a model's graphs."""

    def __init__(
        self, reader: ProtobufReader, artifact: str, limits: Limits, allowed: Collection[str]
    ) -> None:
        self.findings: dict[tuple[str, str], Finding] = {}
        self.external: list[ExternalData] = []
        self.compiled = False
        self._reader, self._artifact, self._limits = reader, artifact, limits
        self._domains = DOMAINS | frozenset(allowed)
        self._own: set[tuple[str, ...]] = set()
        self._tensors = 0

    def model(self) -> None:
        """Visit the graphs, the training graphs and the model's own functions."""
        whole = self._reader.whole
        functions = [*self._reader.select(whole, _MODEL_FUNCTION, depth=0)]
        keys = (_FUNCTION["domain"], _FUNCTION["name"])
        self._own = {
            tuple(self._reader.last_text(function, key, depth=1) for key in keys)
            for function in functions
        }
        self._visit("model", whole, 0)
        for function in functions:
            self._visit("function", function, 1)

    def _visit(self, kind: str, message: Field, depth: int) -> None:
        if kind == "node":
            self._node(message, depth)
        elif kind == "tensor":
            self._tensor(message, depth)
        else:
            children = _CHILDREN[kind]
            for field in self._reader.fields(message, depth=depth):
                if field.number in children:
                    self._visit(children[field.number], field, depth + 1)

    def _node(self, node: Field, depth: int) -> None:
        op = domain = ""
        attributes: list[Field] = []
        for field in self._reader.fields(node, depth=depth):
            if field.number == _NODE["op"]:
                op = self._reader.text(field)
            elif field.number == _NODE["domain"]:
                domain = self._reader.text(field)
            elif field.number == _NODE["attribute"]:
                self._visit("attribute", field, depth + 1)
                attributes.append(field)
        if op == CONTEXT_OPERATOR:
            self._context(attributes, depth + 1)
        key = domain, op
        if domain not in self._domains and key not in self._own and key not in self.findings:
            self.findings[key] = unlisted(
                "onnx-operator",
                f"uses operator {op!r} of domain {domain!r}, which a library outside the file "
                "implements",
                domain,
                where=op,
                artifact=self._artifact,
                severity=Severity.HIGH,
            )

    def _context(self, attributes: list[Field], depth: int) -> None:
        """A compiled engine: embedded, or in a file that has to lie in the model's folder."""
        self.compiled = True
        embedded, path = True, ""
        for attribute in attributes:
            name = self._reader.last_text(attribute, _ATTRIBUTE["name"], depth=depth)
            for field in self._reader.fields(attribute, depth=depth):
                if (name, field.number) == (_EMBEDDED, _ATTRIBUTE["number"]):
                    embedded = bool(field.value)
                elif (name, field.number) == (_CONTEXT, _ATTRIBUTE["text"]):
                    long = field.end - field.start > _LONGEST  # the code itself
                    path = "" if long else self._reader.text(field)
        if not embedded and path:
            require_relative(path, artifact=self._artifact, tensor=CONTEXT_OPERATOR)
            self.external.append(ExternalData(name=path, end=1, scanned=True))

    def _tensor(self, tensor: Field, depth: int) -> None:
        self._tensors += 1
        self._limits.require("tensors", self._tensors, where=self._artifact)
        parts: dict[int, list[Field]] = {number: [] for number in _TENSOR.values()}
        for field in self._reader.fields(tensor, depth=depth):
            if field.number in parts:
                parts[field.number].append(field)
        name = "".join(self._reader.text(f) for f in parts[_TENSOR["name"]][-1:])
        need = self._size(parts, name)
        location, external = parts[_TENSOR["location"]], parts[_TENSOR["external"]]
        if external or (location and location[-1].value == _EXTERNAL):
            self.external.append(self._external(external, need, name, depth))
        for raw in parts[_TENSOR["raw"]]:
            if need is None or raw.end - raw.start != need:
                raise FormatRefused(
                    f"{self._artifact}: tensor {name!r} holds {raw.end - raw.start} bytes: "
                    f"expected {need} for its type and shape"
                )

    def _size(self, parts: dict[int, list[Field]], name: str) -> int | None:
        """Bytes for a tensor's type and shape; None for a type without a fixed size."""
        kinds = parts[_TENSOR["kind"]]
        dims = [n for field in parts[_TENSOR["dims"]] for n in self._reader.numbers(field)]
        if any(n >= 1 << 63 for n in dims):
            raise FormatRefused(f"{self._artifact}: tensor {name!r} has a negative dimension")
        if not kinds or kinds[-1].kind != VARINT or kinds[-1].value not in _BITS:
            return None
        return (element_count(dims, most=_LARGEST) * _BITS[kinds[-1].value] + 7) // 8

    def _external(
        self, fields: list[Field], need: int | None, name: str, depth: int
    ) -> ExternalData:
        entries = dict(self._entry(field, depth + 1) for field in fields)
        location = entries.get("location", "")
        require_relative(location, artifact=self._artifact, tensor=name)
        try:
            offset, length = int(entries.get("offset", "0")), int(entries.get("length", need or 0))
        except ValueError as error:
            raise FormatRefused(
                f"{self._artifact}: tensor {name!r}: expected numbers for its place in {location!r}"
            ) from error
        if need is None or length != need or offset < 0:
            raise FormatRefused(
                f"{self._artifact}: tensor {name!r} takes {length} bytes at {offset} of "
                f"{location!r}: expected {need} for its type and shape"
            )
        return ExternalData(name=location, end=offset + length)

    def _entry(self, field: Field, depth: int) -> tuple[str, str]:
        found = {f.number: self._reader.text(f) for f in self._reader.fields(field, depth=depth)}
        return found.get(1, ""), found.get(2, "")


def require_relative(location: str, *, artifact: str, tensor: str) -> None:
    """Demand that a reference stays in the model's folder.

    Raises:
        UnsafeContent: It leaves the folder.
    """
    path = PurePosixPath(location)
    plain = location and not path.is_absolute() and not _DRIVE.match(location)
    if not plain or ".." in path.parts or "\\" in location or "\0" in location:
        raise UnsafeContent(
            f"{artifact}: {tensor!r} refers to {location!r}: expected a file under a relative name "
            "in the model's own folder",
            rule="outside-reference",
            where=tensor,
        )
