"""CatBoost model scanner: tables inside the file, trees inside their arrays.

Source: CatBoost `libs/model/model.cpp`, `TFullModel::Load`; `libs/model/flatbuffers/model.fbs`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading.containers.flatbuffers import FlatTables
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

_HEAD: Final = struct.Struct("<4sI")  # the magic, and bytes of the core
_TREES, _PARTS = 1, 3
_SPLITS, _SIZES, _STARTS = 1, 2, 3


def examine_catboost(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check the core, and name the parts behind it."""
    with source.stream() as stream:
        _, size = _HEAD.unpack(stream.read(_HEAD.size).ljust(_HEAD.size, b"\0"))
        if size > source.size - _HEAD.size:
            raise FormatRefused(f"{source.name}: a core of {size} bytes in {source.size}")
        limits.require("header_bytes", size, where=source.name)
        tables = FlatTables(stream.read(size), source.name, limits)
    try:
        root = tables.root()
        trees = tables.table(root, _TREES)
        if trees is not None:
            _require_trees(tables, trees, source.name)
        parts = [*tables.texts(root, _PARTS)]
    except struct.error as error:
        raise FormatRefused(f"{source.name}: a table that leaves the file: {error}") from error
    if not parts and size + _HEAD.size != source.size:
        raise FormatRefused(f"{source.name}: bytes behind the core, and no part has them")
    return Examination(
        unchecked=tuple(
            Unchecked(what=source.name, why=f"part {each[:80]!r} behind the trees")
            for each in parts
        )
    )


def _require_trees(tables: FlatTables, trees: int, where: str) -> None:
    splits, sizes = tables.numbers(trees, _SPLITS), tables.numbers(trees, _SIZES)
    starts = tables.numbers(trees, _STARTS)
    if starts and len(starts) != len(sizes):
        raise FormatRefused(f"{where}: {len(sizes)} trees and {len(starts)} offsets")
    at = 0
    for number, size in enumerate(sizes):
        if size < 0 or at + size > len(splits) or (starts and starts[number] != at):
            raise UnsafeContent(
                f"{where}: tree {number} leaves the array of {len(splits)} splits; CatBoost "
                "follows it without a check",
                rule="tree-index",
                where=f"tree {number}",
            )
        at += size
