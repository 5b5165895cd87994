"""A saver in the main graph, as TensorFlow 1 writes it: only its own ends reach files."""

from pathlib import Path

import pytest

from mlsecops.loading import scan
from tests.attackers.model_files import field

NODES = {
    "x": ("Placeholder", ()),
    "y": ("Identity", ("x",)),
    "init": ("NoOp", ()),
    "path": ("Const", ()),
    "shard": ("ShardedFilename", ("path",)),
    "write": ("SaveV2", ("shard",)),
    "merge": ("MergeV2Checkpoints", ("path", "^write")),
    "saved": ("Identity", ("path", "^merge")),
    "read": ("RestoreV2", ("path",)),
    "assign": ("AssignVariableOp", ("x", "read:0")),
    "restored": ("NoOp", ("^assign",)),
}
Nodes = dict[str, tuple[str, tuple[str, ...]]]


def saved_model(
    nodes: Nodes, *, output: str = "y:0", initial: str = "init", saver: bool = True
) -> bytes:
    graph = b"".join(
        field(1, field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs))
        for name, (op, inputs) in nodes.items()
    )
    ends = field(1, "path:0") + field(2, "saved:0") + field(3, "restored")
    signature = field(1, "serving_default") + field(
        2, field(2, field(1, "out") + field(2, field(1, output)))
    )
    collection = field(1, "saved_model_main_op") + field(2, field(1, field(1, initial)))
    meta = field(2, graph) + (field(3, ends) if saver else b"")
    return field(1, 1) + field(2, meta + field(4, collection) + field(5, signature))


def refused(folder: Path, data: bytes) -> bool:
    (folder / "saved_model.pb").write_bytes(data)
    return scan(folder / "saved_model.pb").refused


def test_a_sharded_saver_that_only_its_ends_run_passes(tmp_path: Path) -> None:
    assert not refused(tmp_path, saved_model(NODES))


HOSTILE: dict[str, bytes] = {
    "no saver": saved_model(NODES, saver=False),
    "an output that writes": saved_model(NODES | {"y": ("Identity", ("x", "^write"))}),
    "an output that reads": saved_model(NODES | {"y": ("Identity", ("read",))}),
    "an output of the saver": saved_model(NODES, output="saved:0"),
    "an initialiser that writes": saved_model(NODES | {"init": ("NoOp", ("^merge",))}),
    "an initialiser of the saver": saved_model(NODES, initial="saved"),
    "restoring that writes": saved_model(NODES | {"restored": ("NoOp", ("^assign", "^write"))}),
    "saving that runs the initialiser": saved_model(
        NODES | {"init": ("NoOp", ("^write",)), "saved": ("Identity", ("path", "^init"))}
    ),
    "a write that no end runs": saved_model(NODES | {"more": ("SaveV2", ("path",))}),
    "a read that no end runs": saved_model(NODES | {"more": ("RestoreV2", ("path",))}),
    "another operation": saved_model(NODES | {"more": ("WriteFile", ("path",))}),
}  # fmt: skip


@pytest.mark.parametrize("trick", sorted(HOSTILE))
def test_a_saver_that_something_else_runs_is_refused(tmp_path: Path, trick: str) -> None:
    assert refused(tmp_path, HOSTILE[trick])


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    """Readers would disagree on what depends on the files."""
    again = field(1, field(1, "y") + field(2, "Identity") + field(3, "write"))
    nodes = b"".join(
        field(1, field(1, name) + field(2, op) + b"".join(field(3, each) for each in inputs))
        for name, (op, inputs) in NODES.items()
    )
    ends = field(1, "path:0") + field(2, "saved:0") + field(3, "restored")
    assert refused(tmp_path, field(1, 1) + field(2, field(2, nodes + again) + field(3, ends)))
