"""OCDBT scanner: manifests and nodes of TensorStore's database, in which Orbax keeps tensors.

Source: TensorStore, "OCDBT Key-Value Store driver", storage format (manifest, B+tree node).
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination


def examine_ocdbt(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check that the file has the length that it declares; its entries are numbers, compressed."""
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        cursor.skip(4)
        length = cursor.number("<Q")
        if length != source.size:
            raise cursor.malformed(f"{source.size} bytes, as the file has, got {length}")
    return Examination()
