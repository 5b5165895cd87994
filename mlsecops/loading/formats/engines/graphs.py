"""Scanners of Paddle, MXNet, Caffe and ncnn graphs: operators that reach files or Python.

The frameworks are not installed where this runs, so there is no list of all their operators: what
is known to reach outside refuses, and the graph as a whole stays unchecked.

Source: Paddle `framework.proto` and `py_func_op.cc`; MXNet `symbol.json` and `operator/custom`;
Caffe `caffe.proto` (`PythonParameter`, `HDF5DataParameter`, `ImageDataParameter`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.protobuf import BYTES, ProtobufReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked, unlisted

_PADDLE: Final = frozenset(
    {"py_func", "py_layer", "load", "load_combine", "save", "save_combine", "run_program", "print",
     "recv", "recv_v2", "send", "send_v2", "listen_and_serv", "fl_listen_and_serv", "read_file",
     "gen_nccl_id", "c_gen_nccl_id", "distributed_lookup_table", "create_py_reader", "go",
     "tensorrt_engine", "lite_engine", "cinn_launch", "custom_operator"}
)  # fmt: skip
"""Operators of Paddle that call Python, open files or connections, or hold compiled code."""
_MXNET: Final = frozenset({"Custom", "_Native", "_NDArray", "_CustomFunction", "TorchModule"})
"""Operators of MXNet that call code outside the library."""
_CAFFE: Final = frozenset({"Python", "HDF5Data", "HDF5Output", "ImageData", "WindowData", "Data"})
"""Layers of Caffe that call Python or open files."""


def examine_paddle(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Look at the operators of a Paddle program (`ProgramDesc.blocks[].ops[].type`)."""
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        names = {
            reader.last_text(op, 3, depth=2)
            for block in reader.select(reader.whole, 1, depth=0)
            for op in reader.select(block, 4, depth=1)
        }
    return _judged(source.name, names, _PADDLE, allowed, "Paddle")


def examine_mxnet(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Look at the nodes of an MXNet symbol."""
    limits.require("header_bytes", source.size, where=source.name)
    with source.stream() as stream:
        value = parse_object(stream.read(), what=source.name, error=FormatRefused)
    names = set(_mxnet_operators(value, 0, limits, source.name))
    return _judged(source.name, names, _MXNET, allowed, "MXNet")


def _mxnet_operators(value: Any, level: int, limits: Limits, where: str) -> Iterator[str]:
    limits.require("depth", level, where=where)
    nodes = value.get("nodes") if isinstance(value, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict):
            yield str(node.get("op"))
            inner = node.get("subgraphs")
            for each in inner if isinstance(inner, list) else ():
                yield from _mxnet_operators(each, level + 1, limits, where)


def examine_caffe(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Look at the layers of a Caffe network (`NetParameter.layer[].type`, field 100)."""
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        names = {
            reader.last_text(layer, 2, depth=1)
            for layer in reader.select(reader.whole, 100, depth=0)
            if layer.kind == BYTES
        }
    return _judged(source.name, names, _CAFFE, allowed, "Caffe")


def _judged(
    where: str, names: set[str], outside: frozenset[str], allowed: Collection[str], library: str
) -> Examination:
    findings: list[Finding] = [
        unlisted(
            "graph-operator",
            f"uses {library}'s operator {name!r}, which reaches files, Python or compiled code",
            name,
            where=name,
            artifact=where,
            severity=Severity.HIGH,
        )
        for name in sorted(names & outside)
        if name not in allowed
    ]
    rest = not_checked(where, f"a graph of {library}, whose operators are not on a list")
    return Examination(findings=tuple(findings)) | rest
