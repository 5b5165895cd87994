"""NumPy file scanner: plain arrays of the declared size, no pickled objects.

Source: NumPy enhancement proposal 1 (the npy format).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, BinaryIO, Final

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.containers.zip_archive import Archive, archive
from mlsecops.loading.limits import Limits
from mlsecops.loading.shapes import element_count, shown
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

_LENGTH_BYTES: Final = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_LONGEST_HEADER: Final = 10_000  # bytes; numpy.lib.format, `_MAX_HEADER_SIZE`
_UNREADABLE: Final = (
    ValueError, KeyError, TypeError, SyntaxError, TokenError, EOFError, OSError, RecursionError,
)  # fmt: skip
"""Errors of NumPy's header parser."""


def examine_npy(source: Source, _limits: Limits) -> Examination:
    """Check one array's header against the file."""
    with source.stream() as stream:
        _require_plain(stream, source.size, source.name)
    return Examination()


def examine_npz(source: Source, limits: Limits) -> Examination:
    """Check every array of an archive."""
    with archive(source, limits=limits) as opened:
        require_plain_arrays(opened, opened.entries, source.name)
    return Examination()


@dataclass(frozen=True, slots=True)
class PlainArray:
    """Header of an array, and where its bytes start."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: Any
    start: int


def require_plain_arrays(
    opened: Archive, names: Iterable[str], where: str
) -> dict[str, PlainArray]:
    """Check the headers of arrays in an archive; raises what `examine_npy` does."""
    found, pace = {}, Pace(where)
    for name in names:
        pace.step(100)  # a header of 10,000 bytes takes up to 20 ms
        with opened.stream(name) as stream:
            found[name] = _require_plain(stream, opened.entries[name].size, f"{where}: {name}")
    return found


def _require_plain(stream: BinaryIO, size: int, where: str) -> PlainArray:
    from numpy.lib import format as npy  # noqa: PLC0415 - a scan of other formats needs no numpy

    try:
        version = npy.read_magic(stream)
        length = stream.read(_LENGTH_BYTES[version])
        # NumPy would first read as many bytes as are declared.
        most = min(_LONGEST_HEADER, int.from_bytes(length, "little"))
        header = io.BytesIO(length + stream.read(most))
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(header)
    except _UNREADABLE as error:
        raise FormatRefused(f"{where}: not a readable npy header: {error}") from error
    if dtype.hasobject:
        raise UnsafeContent(
            f"{where}: holds Python objects (dtype {dtype}), which are pickled; "
            "save the array with a plain dtype",
            rule="numpy-object-array",
            where=where,
        )
    start = stream.tell()
    stored = max(0, size - start)
    negative = min(shape, default=0) < 0
    if negative or element_count(shape, most=stored) * dtype.itemsize != stored:
        raise LimitExceeded(
            f"{where}: shape {shown(shape)} of {dtype}: expected a size of {stored} bytes, as the "
            "file holds, got another"
        )
    return PlainArray(shape, fortran, dtype, start)
