"""TensorFlow graph scanner: frozen graphs (`.pb`) and graphs of checkpoints (`.meta`).

Source: `tensorflow/core/framework/graph.proto`, `tensorflow/core/protobuf/meta_graph.proto`.
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops.loading.allowed import listed
from mlsecops.loading.containers.protobuf import ProtobufReader
from mlsecops.loading.formats.checkpoints.graph_saver import SAVER_OPERATIONS
from mlsecops.loading.formats.savedmodel import MetaGraph
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked


def examine_graph(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check the operations of a frozen graph; `allowed`: operations."""
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        walk = MetaGraph(reader, source.name, frozenset(allowed) | listed("tensorflow"))
        found = {(each.rule, each.message): each for each in walk.graph_findings(reader.whole)}
    return Examination(findings=tuple(found.values()))


def examine_meta_graph(
    source: Source, limits: Limits, allowed: Collection[str] = ()
) -> Examination:
    """Check the operations of a checkpoint's graph; its saver is named."""
    names = frozenset(allowed) | listed("tensorflow") | SAVER_OPERATIONS
    with source.stream() as stream:
        reader = ProtobufReader(stream, source.size, where=source.name, limits=limits)
        walk = MetaGraph(reader, source.name, names)
        found = {(each.rule, each.message): each for each in walk.findings(reader.whole)}
    why = "operations of its saver, which read and write the files that their inputs name"
    saver = walk.operations & SAVER_OPERATIONS
    return Examination(
        findings=tuple(found.values()),
        unchecked=(Unchecked(what=source.name, why=why),) if saver else (),
    )
