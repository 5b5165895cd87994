"""Core ML scanner: custom classes, linked models, and the packages' weight files.

Source: coremltools `mlmodel/format/Model.proto`, `NeuralNetwork.proto`, `Pipeline.proto`;
`mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from typing import Final

from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.protobuf import BYTES, Field, ProtobufReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, refused_reference, unlisted

_CUSTOM_MODEL, _LINKED_MODEL, _CUSTOM_LAYER, _PROGRAM = 555, 556, 500, 502
_PIPELINES: Final = {200: 1, 201: 1}
"""Kind of a pipeline with an output → number of the pipeline inside."""
_PIPELINE: Final = 202  # field number; Model.proto, `pipeline`
_NETWORKS: Final = (303, 403, 500)
_CLASS: Final = 10  # field number; `className` of a custom model or layer
_BLOB_PATH: Final = re.compile(rb"@model_path/[^\x00-\x1f\"]{0,400}")
SENTINEL: Final = 0xDEADBEEF  # StorageFormat.hpp, `BlobMetadataSentinel`
_HEAD: Final = struct.Struct("<II56x")
_ENTRY: Final = struct.Struct("<IIQQ40x")
_ALIGNMENT: Final = 64  # bytes; StorageFormat.hpp, `DefaultStorageAlignment`


def examine_coreml(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check a specification; `allowed`: classes of custom layers and models."""
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        walk = _Walk(reader, source.name, allowed)
        walk.model(reader.whole, 0)
    return Examination(findings=tuple(walk.findings.values()))


def examine_blobs(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check that each blob of a weight file lies in it, one behind the other."""
    with source.stream() as stream:
        count, version = _HEAD.unpack(stream.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
        limits.require("tensors", count, where=source.name)
        at = _HEAD.size
        for number in range(count):
            at = -(-at // _ALIGNMENT) * _ALIGNMENT
            stream.seek(at)
            entry = stream.read(_ENTRY.size)
            if len(entry) < _ENTRY.size:
                raise FormatRefused(f"{source.name}: blob {number} of {count} is not there")
            sentinel, _, size, offset = _ENTRY.unpack(entry)
            if sentinel != SENTINEL or offset < at + _ENTRY.size or offset + size > source.size:
                raise FormatRefused(
                    f"{source.name}: blob {number} takes {size} bytes at {offset}: expected them "
                    f"behind its header at {at} and in the file (version {version})"
                )
            at = offset + size
    return Examination()


class _Walk:
    """One pass over a model and the models in it."""

    def __init__(self, reader: ProtobufReader, where: str, allowed: Collection[str]) -> None:
        self.findings: dict[tuple[str, str], Finding] = {}
        self._reader, self._where, self._allowed = reader, where, allowed

    def model(self, message: Field, depth: int) -> None:
        for field in self._reader.fields(message, depth=depth):
            if field.kind == BYTES:
                self._part(field, depth + 1)

    def _part(self, field: Field, depth: int) -> None:
        if field.number in _PIPELINES or field.number == _PIPELINE:
            for inner in self._models(field, depth):
                self.model(inner, depth + 1)
        elif field.number == _CUSTOM_MODEL:
            self._custom("model", field, depth)
        elif field.number == _LINKED_MODEL:
            self._linked(field)
        elif field.number in _NETWORKS:
            for layer in self._reader.select(field, 1, depth=depth):
                for custom in self._reader.select(layer, _CUSTOM_LAYER, depth=depth + 1):
                    self._custom("layer", custom, depth + 2)
        elif field.number == _PROGRAM:
            self._paths(self._reader.read(field))

    def _models(self, field: Field, depth: int) -> Iterator[Field]:
        if field.number in _PIPELINES:
            for inner in self._reader.select(field, _PIPELINES[field.number], depth=depth):
                yield from self._reader.select(inner, 1, depth=depth + 1)
        else:
            yield from self._reader.select(field, 1, depth=depth)

    def _custom(self, kind: str, field: Field, depth: int) -> None:
        name = self._reader.last_text(field, _CLASS, depth=depth)
        if name not in self._allowed:
            self.findings[kind, name] = unlisted(
                "coreml-custom",
                f"uses the custom {kind} {name[:200]!r}, whose class the application has to bring",
                name[:200],
                where=name[:200],
                artifact=self._where,
                severity=Severity.HIGH,
            )

    def _linked(self, field: Field) -> None:
        text = self._reader.text(field)
        self.findings["linked", text] = refused_reference(
            self._where, text[:200], "a linked model, which is looked for by name elsewhere"
        )

    def _paths(self, data: bytes) -> None:
        for found in _BLOB_PATH.findall(data):
            name = found.decode("utf-8", "backslashreplace")
            if ".." in name.split("/"):
                self.findings["path", name] = refused_reference(
                    self._where, name[:200], "a weight file outside the package"
                )
