"""CTranslate2 model scanner: variables and aliases that fill the file exactly.

Source: CTranslate2 `src/models/model.cc`, `Model::load`; `python/ctranslate2/specs/model_spec.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_VERSION: Final = 6  # model.cc, `current_binary_version`
_ITEM: Final = {0: 4, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2}
"""Data type → bytes of an item: float32, int8, int16, int32, float16, bfloat16."""
_DIMENSIONS: Final = 8  # dimensions; chosen: layers have up to four


def examine_ctranslate2(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check each variable's size."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        version = cursor.number("<I")
        if version > _VERSION:
            return not_checked(source.name, f"CTranslate2 of version {version}")
        cursor.text("<H")
        cursor.skip(4)  # the specification's revision
        count = cursor.number("<I")
        if count > cursor.left:
            raise cursor.malformed(f"{count} variables")
        limits.require("tensors", count, where=source.name)
        names = set()
        for _number in range(count):
            names.add(cursor.text("<H").rstrip("\0"))
            rank = cursor.number("<B")
            if rank > _DIMENSIONS:
                raise cursor.malformed(f"at most {_DIMENSIONS} dimensions, got {rank}")
            shape = [cursor.number("<I") for _dimension in range(rank)]
            kind, size = cursor.number("<B"), cursor.number("<I")
            fits = element_count(shape, most=cursor.left) * _ITEM.get(kind, 0) == size
            if kind in _ITEM and not fits:
                raise cursor.malformed(f"a variable of {size} bytes, as its shape says")
            cursor.skip(size)
        for _number in range(cursor.number("<I") if cursor.left else 0):
            _alias, target = cursor.text("<H"), cursor.text("<H").rstrip("\0")
            if target not in names:
                raise cursor.malformed(f"an alias of a variable, got {target[:80]!r}")
        cursor.require_end()
    return Examination()
