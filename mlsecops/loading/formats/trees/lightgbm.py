"""LightGBM text model scanner: children, features and leaves of each tree inside their arrays.

Source: LightGBM `src/boosting/gbdt_model_text.cpp`; `src/io/tree.cpp`, `Tree::Tree`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

_LONGEST: Final = 1 << 26  # bytes of a line; chosen: a tree of a million leaves has shorter ones
_PER_SPLIT: Final = ("split_feature", "threshold", "left_child", "right_child")


def examine_lightgbm(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check each tree of a model."""
    features, count = -1, 0
    for name, block in _blocks(source):
        if name.startswith("Tree="):
            count += 1
            limits.require("tensors", count, where=source.name)
            _require_tree(block, features, f"{source.name}: {name[:40]}")
        elif "max_feature_idx" in block:
            features = _number(block["max_feature_idx"], source.name) + 1
    if features < 0:
        raise FormatRefused(f"{source.name}: expected max_feature_idx before the trees")
    return Examination()


def _blocks(source: Source) -> Iterator[tuple[str, dict[str, str]]]:
    """First line and key=value lines of the header and of each tree, up to `end of trees`."""
    name, block, pace = "", dict[str, str](), Pace(source.name)
    with source.stream() as stream:
        while raw := stream.readline(_LONGEST):
            pace.step(1 + len(raw) // 1000)
            if not raw.endswith(b"\n") and len(raw) == _LONGEST:
                raise FormatRefused(f"{source.name}: a line of more than {_LONGEST} bytes")
            line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            if line.startswith("Tree=") or line == "end of trees":
                yield name, block
                name, block = line, {}
            if line == "end of trees":
                return
            key, _, value = line.partition("=")
            block[key] = value
    raise FormatRefused(f"{source.name}: expected 'end of trees', got the end of the file")


def _require_tree(block: dict[str, str], features: int, where: str) -> None:
    if problem := _problem(block, features, where):
        raise UnsafeContent(
            f"{where}: {problem}; LightGBM follows it without a check",
            rule="tree-index",
            where=where.rpartition(" ")[2],
        )


def _problem(block: dict[str, str], features: int, where: str) -> str | None:
    """Why a tree's walks would leave its arrays, or None."""
    leaves = _number(block.get("num_leaves", ""), where)
    arrays = {key: block.get(key, "").split() for key in (*_PER_SPLIT, "leaf_value")}
    splits = leaves - 1
    lengths = {key: len(each) for key, each in arrays.items()}
    wanted = dict.fromkeys(_PER_SPLIT, splits) | {"leaf_value": leaves}
    if leaves < 1 or (lengths != wanted and splits):
        return f"expected {leaves} leaves in its arrays"
    for at, feature in enumerate(arrays["split_feature"][:splits]):
        if not 0 <= _number(feature, where) < features:
            return f"split {at} by feature {feature[:20]}, of {features}"
    for key in ("left_child", "right_child"):
        for at, text in enumerate(arrays[key][:splits]):
            child = _number(text, where)
            # Below 0 it is a leaf's number, inverted; a split behind its parent ends every walk.
            if not (at < child < splits if child >= 0 else ~child < leaves):
                return f"{key} {at} leads to {child}, of {splits} splits"
    return None


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise FormatRefused(f"{where}: expected a whole number, got {text[:20]!r}") from error
