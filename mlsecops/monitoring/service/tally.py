"""Tally of calls in a mapped file, which survives the death of its process.

call → three numbers in shared memory; reader → monitor's name and the numbers
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from mlsecops._platform import CLOEXEC

OUTCOMES: Final = ("ok", "error", "refused")
PLACES: Final = {outcome: place for place, outcome in enumerate(OUTCOMES)}
_SIZE: Final = 8 * len(OUTCOMES)  # bytes; an unsigned 64-bit number for each outcome
_LONGEST: Final = 65_536  # bytes of a file; chosen: a monitor's name is shorter


def open_tally(path: Path, monitor: str) -> memoryview:
    """Create a tally of zeros for a monitor; returns numbers that are written by assignment.

    Raises:
        OSError: The file cannot be created.
    """
    content = bytes(_SIZE) + monitor.encode(errors="surrogatepass")[: _LONGEST - _SIZE]
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        mapped = mmap.mmap(descriptor, len(content))
    finally:
        os.close(descriptor)
    return memoryview(mapped)[:_SIZE].cast("Q")


def read_tally(path: Path) -> tuple[str, tuple[int, ...]] | None:
    """A tally's monitor, and its calls by outcome; None if the file is gone or not whole."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_LONGEST)
        name = data[_SIZE:].decode(errors="surrogatepass")
        return name, struct.unpack(f"={len(OUTCOMES)}Q", data[:_SIZE])
    except (OSError, ValueError, struct.error):
        return None
