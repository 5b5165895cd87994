"""Whether an ONNX model uses known operators only, and keeps its tensors where they may be.

Source: onnx/onnx.proto, IR version 13; external data as in docs/ExternalData.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import Final

from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.protobuf import VARINT, Field, Reader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, ExternalData

DOMAINS: Final = frozenset(
    {
        "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview",
        "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc",
    }
)  # fmt: skip
"""Operators that ONNX defines or ONNX Runtime is built with; any other needs a library."""
_BITS: Final = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
_STRING, _EXTERNAL = 8, 1
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_MODEL = {"graph": 7, "training": 20, "function": 25}
_GRAPH = {"node": 1, "initializer": 5, "sparse": 15}
_NODE = {"op": 4, "attribute": 5, "domain": 7}
_ATTRIBUTE = {"tensor": 5, "graph": 6, "tensors": 10, "graphs": 11, "sparse": 22, "sparses": 23}
_FUNCTION = {"name": 1, "node": 7, "domain": 10, "attribute": 11}
_TENSOR = {"dims": 1, "kind": 2, "name": 8, "raw": 9, "external": 13, "location": 14}


def examine_onnx(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check operators, tensors and references to other files.

    Args:
        source: The model.
        limits: Ceilings.
        allowed: Operator domains allowed besides the known ones.

    Raises:
        FormatRefused: It is malformed, or a tensor is not what it declares.
        LimitExceeded: Too much is declared.
        UnsafeContent: A tensor lies outside the model's folder.
    """
    with source.stream() as stream:
        reader = Reader(stream, source.size, where=source.name, limits=limits)
        walk = _Walk(reader, source.name, limits, allowed)
        walk.model()
    return Examination(findings=tuple(walk.findings.values()), external=tuple(walk.external))


class _Walk:
    """One pass over a model's graphs."""

    def __init__(
        self, reader: Reader, artifact: str, limits: Limits, allowed: Collection[str]
    ) -> None:
        self.findings: dict[tuple[str, str], Finding] = {}
        self.external: list[ExternalData] = []
        self._reader, self._artifact, self._limits = reader, artifact, limits
        self._domains = DOMAINS | frozenset(allowed)
        self._own: set[tuple[str, str]] = set()
        self._tensors = 0

    def model(self) -> None:
        reader, whole = self._reader, self._reader.whole
        functions = [f for f in reader.fields(whole) if f.number == _MODEL["function"]]
        self._own = {
            (self._said(f, _FUNCTION["domain"]), self._said(f, _FUNCTION["name"]))
            for f in functions
        }
        for field in reader.fields(whole):
            if field.number == _MODEL["graph"]:
                self._graph(field, 1)
            elif field.number == _MODEL["training"]:
                for part in reader.fields(field, depth=1):
                    if part.number in {1, 2}:
                        self._graph(part, 2)
        for function in functions:
            for part in reader.fields(function, depth=1):
                if part.number == _FUNCTION["node"]:
                    self._node(part, 2)
                elif part.number == _FUNCTION["attribute"]:
                    self._attribute(part, 2)

    def _graph(self, graph: Field, depth: int) -> None:
        for field in self._reader.fields(graph, depth=depth):
            if field.number == _GRAPH["node"]:
                self._node(field, depth + 1)
            elif field.number == _GRAPH["initializer"]:
                self._tensor(field, depth + 1)
            elif field.number == _GRAPH["sparse"]:
                self._sparse(field, depth + 1)

    def _node(self, node: Field, depth: int) -> None:
        op = domain = ""
        for field in self._reader.fields(node, depth=depth):
            if field.number == _NODE["op"]:
                op = self._reader.text(field)
            elif field.number == _NODE["domain"]:
                domain = self._reader.text(field)
            elif field.number == _NODE["attribute"]:
                self._attribute(field, depth + 1)
        if domain not in self._domains and (domain, op) not in self._own:
            self._find(domain, op)

    def _find(self, domain: str, op: str) -> None:
        self.findings.setdefault(
            (domain, op),
            Finding(
                rule="onnx-operator",
                severity=Severity.HIGH,
                message=(
                    f"uses operator {op!r} of domain {domain!r}, which a library outside the file "
                    f"implements; if that is audited, name it in allow_globals=[{domain!r}]"
                ),
                where=op,
                artifact=self._artifact,
            ),
        )

    def _attribute(self, attribute: Field, depth: int) -> None:
        for field in self._reader.fields(attribute, depth=depth):
            if field.number in {_ATTRIBUTE["tensor"], _ATTRIBUTE["tensors"]}:
                self._tensor(field, depth + 1)
            elif field.number in {_ATTRIBUTE["graph"], _ATTRIBUTE["graphs"]}:
                self._graph(field, depth + 1)
            elif field.number in {_ATTRIBUTE["sparse"], _ATTRIBUTE["sparses"]}:
                self._sparse(field, depth + 1)

    def _sparse(self, sparse: Field, depth: int) -> None:
        for field in self._reader.fields(sparse, depth=depth):
            if field.number in {1, 2}:
                self._tensor(field, depth + 1)

    def _tensor(self, tensor: Field, depth: int) -> None:
        self._tensors += 1
        self._limits.require("tensors", self._tensors, where=self._artifact)
        parts: dict[int, list[Field]] = {}
        for field in self._reader.fields(tensor, depth=depth):
            parts.setdefault(field.number, []).append(field)
        name = "".join(self._reader.text(f) for f in parts.get(_TENSOR["name"], [])[-1:])
        need = self._needed(parts, name)
        location = parts.get(_TENSOR["location"], [])
        external = parts.get(_TENSOR["external"], [])
        if external or (location and location[-1].value == _EXTERNAL):
            self.external.append(self._external(external, need, name, depth))
        for raw in parts.get(_TENSOR["raw"], []):
            if need is None or raw.end - raw.start != need:
                raise FormatRefused(
                    f"{self._artifact}: tensor {name!r} holds {raw.end - raw.start} bytes: "
                    f"expected {need}, as its type and shape take"
                )

    def _needed(self, parts: dict[int, list[Field]], name: str) -> int | None:
        """Bytes that a tensor's type and shape take; None where that cannot be told."""
        kinds = parts.get(_TENSOR["kind"], [])
        dims = [n for field in parts.get(_TENSOR["dims"], []) for n in self._reader.numbers(field)]
        if any(n >= 1 << 63 for n in dims):
            raise FormatRefused(f"{self._artifact}: tensor {name!r} has a negative dimension")
        if not kinds or kinds[-1].kind != VARINT or kinds[-1].value not in _BITS:
            return None
        return (math.prod(dims) * _BITS[kinds[-1].value] + 7) // 8

    def _external(
        self, fields: list[Field], need: int | None, name: str, depth: int
    ) -> ExternalData:
        said = dict(self._entry(field, depth + 1) for field in fields)
        location = said.get("location", "")
        require_relative(location, artifact=self._artifact, tensor=name)
        try:
            offset, length = int(said.get("offset", "0")), int(said.get("length", need or 0))
        except ValueError as error:
            raise FormatRefused(
                f"{self._artifact}: tensor {name!r}: its place in {location!r} is no number"
            ) from error
        if need is None or length != need or offset < 0:
            raise FormatRefused(
                f"{self._artifact}: tensor {name!r} takes {length} bytes at {offset} of "
                f"{location!r}: expected {need}, as its type and shape take"
            )
        return ExternalData(name=location, end=offset + length)

    def _entry(self, field: Field, depth: int) -> tuple[str, str]:
        said = {f.number: self._reader.text(f) for f in self._reader.fields(field, depth=depth)}
        return said.get(1, ""), said.get(2, "")

    def _said(self, message: Field, number: int) -> str:
        return "".join(_last(self._reader, message, number))


def _last(reader: Reader, message: Field, number: int) -> Iterator[str]:
    found = [field for field in reader.fields(message, depth=1) if field.number == number]
    yield from (reader.text(field) for field in found[-1:])


def require_relative(location: str, *, artifact: str, tensor: str) -> None:
    """Demand that a reference stays in the model's own folder.

    Raises:
        UnsafeContent: It does not.
    """
    path = PurePosixPath(location)
    plain = location and not path.is_absolute() and not _DRIVE.match(location)
    if not plain or ".." in path.parts or "\\" in location or "\0" in location:
        raise UnsafeContent(
            f"{artifact}: {tensor!r} lies in {location!r}: expected a file under a relative name "
            "in the model's own folder",
            rule="outside-reference",
            where=tensor,
        )
