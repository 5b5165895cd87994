"""PNG encoding of 8-bit images.

Source: W3C, Portable Network Graphics (PNG) Specification, Third Edition, sections 5, 7.2 and 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def png_bytes(pixels: NDArray[np.uint8], *, level: int = -1) -> bytes:
    """A file of an image `(h, w)` or `(h, w, 1)`, grey, or `(h, w, 3)`, red, green and blue."""
    height, width = pixels.shape[:2]
    kind = 2 if pixels.shape[2:] == (3,) else 0
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, level)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
