"""Saver in a TensorFlow 1 graph: its file operations, and who runs them.

nodes, the saver's ends, other entry points → whether only the saver's own ends reach its files

TensorFlow 1 writes a saver into the main graph. Calling the model runs what its outputs depend on,
and loading it runs the restoring end and the initialisers; nothing else may depend on the files.

Source: `tensorflow/python/saved_model/load_v1_in_v2.py`, `tensorflow/core/protobuf/saver.proto`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

WRITES: Final = frozenset({"SaveV2", "MergeV2Checkpoints"})
READS: Final = frozenset({"RestoreV2"})
SAVER_OPERATIONS: Final = WRITES | READS | {"ShardedFilename"}


def contained(
    operations: Mapping[str, str],
    inputs: Mapping[str, Collection[str]],
    *,
    saving: Collection[str],
    restoring: Collection[str],
    entries: Collection[str],
) -> bool:
    """Whether only a saver's ends depend on the operations that write and read files.

    Args:
        operations: Name of each node → its operation.
        inputs: Name of each node → names of those that it depends on.
        saving: Nodes that the saver runs to save.
        restoring: Nodes that the saver runs to restore.
        entries: Nodes that anybody else runs: outputs of signatures, initialisers.

    Examples:
        >>> nodes = {"save": "SaveV2", "end": "Identity", "out": "Identity"}
        >>> inputs = {"save": [], "end": ["save"], "out": []}
        >>> ends = {"saving": ["end"], "restoring": []}
        >>> contained(nodes, inputs, entries=["out"], **ends)
        True
        >>> contained(nodes, inputs | {"out": ["save"]}, entries=["out"], **ends)
        False
    """
    users: dict[str, list[str]] = {}
    for name, wanted in inputs.items():
        for each in wanted:
            users.setdefault(each, []).append(name)
    for kinds, ends in ((WRITES, saving), (READS, restoring)):
        files = {name for name, operation in operations.items() if operation in kinds}
        dependent = _reached(files, users)
        others = {*entries, *(restoring if kinds is WRITES else saving)}
        if dependent & others or not dependent <= _reached(ends, inputs):
            return False
    return True


def _reached(start: Collection[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    found, pending = set(start), list(start)
    while pending:
        for name in edges.get(pending.pop(), ()):
            if name not in found:
                found.add(name)
                pending.append(name)
    return found
