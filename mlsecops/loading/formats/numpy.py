"""Whether `.npy` and `.npz` files hold plain arrays of the size they declare, and no pickle.

Source: NumPy enhancement proposal 1 (the npy format).
"""

from __future__ import annotations

import io
import math
from tokenize import TokenError
from typing import BinaryIO, Final

from mlsecops.errors import FormatRefused, LimitExceeded, UnsafeContent
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

_LENGTH_BYTES: Final = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_LONGEST_HEADER: Final = 10_000
"""What NumPy parses at most."""


def examine_npy(source: Source, limits: Limits) -> Examination:
    """Check one array's header against the file.

    Raises:
        UnsafeContent: It holds Python objects, which are pickled.
        FormatRefused: It is malformed.
        LimitExceeded: It declares more than it holds.
    """
    limits.require("file_bytes", source.size, where=source.name)
    with source.stream() as stream:
        require_plain(stream, source.size, source.name)
    return Examination()


def examine_npz(source: Source, limits: Limits) -> Examination:
    """Check every array of an archive (see `examine_npy`)."""
    with archive(source, limits=limits) as opened:
        for name, entry in opened.entries.items():
            with opened.stream(name) as stream:
                require_plain(stream, entry.size, f"{source.name}: {name}")
    return Examination()


def require_plain(stream: BinaryIO, size: int, where: str) -> None:
    """Check one array's header against the bytes that follow.

    Raises:
        UnsafeContent: It holds Python objects, which are pickled.
        FormatRefused: It is malformed.
        LimitExceeded: It declares more than it holds.
    """
    from numpy.lib import format as npy  # noqa: PLC0415 - a scan of other formats needs no numpy

    try:
        version = npy.read_magic(stream)
        width = _LENGTH_BYTES[version]
        length = stream.read(width)
        # NumPy would first read however many bytes are declared.
        most = min(_LONGEST_HEADER, int.from_bytes(length, "little"))
        header = io.BytesIO(length + stream.read(most))
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(header)
    except (
        ValueError,
        KeyError,
        TypeError,
        SyntaxError,
        TokenError,
        EOFError,
        OSError,
        RecursionError,
    ) as error:
        raise FormatRefused(f"{where}: not a readable npy header: {error}") from error
    if dtype.hasobject:
        raise UnsafeContent(
            f"{where}: holds Python objects (dtype {dtype}), which are pickled; "
            "save the array with a plain dtype",
            rule="numpy-object-array",
            where=where,
        )
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != size - stream.tell():
        raise LimitExceeded(
            f"{where}: shape {shape} of {dtype} takes {declared} bytes, "
            f"the file holds {size - stream.tell()}"
        )
