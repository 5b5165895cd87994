"""What a trigger looks like, as a PNG: its rows' median, what was added, and where it tells.

Source:
    Portable Network Graphics (PNG) Specification, third edition, W3C (2025), section 5 (chunks),
    section 7.2 (scanlines), section 11.2 (critical chunks).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.poisoning.image_layout import planes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.poisoning.report import Trigger

__all__ = ["trigger_png"]

_SCALE: Final = 8  # screen pixels for each of the image's
_GAP: Final = 1  # of the image's pixels between the three views
_GREY: Final = 0  # colour types of PNG
_COLOUR: Final = 2
_RGB: Final = 3  # channels of a colour image


def trigger_png(trigger: Trigger) -> bytes:
    """Three views side by side: the rows' median, the change against other rows, the mask.

    Args:
        trigger: One of a report's triggers; grey in the change is "as in other rows".

    Raises:
        UsageError: The inputs are not images.
    """
    views = [
        planes(view.astype(np.float32))
        for view in (trigger.pattern, trigger.change / 2 + np.float32(0.5), trigger.mask)
    ]
    if any(view is None for view in views):
        raise UsageError(f"inputs shaped {trigger.pattern.shape} are not images: no picture")
    found = [view for view in views if view is not None]
    gap = np.full((found[0].shape[0], _GAP, found[0].shape[2]), 0.5, dtype=np.float32)
    row = np.concatenate([found[0], gap, found[1], gap, found[2]], axis=1)
    if row.shape[2] != _RGB:
        row = row.mean(axis=2, keepdims=True)
    pixels = np.round(np.clip(row, 0, 1) * 255).astype(np.uint8)
    return _png(pixels.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    height, width, channels = pixels.shape
    kind = _COLOUR if channels == _RGB else _GREY
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # filter 0 before each line
    lines[:, 1:] = pixels.reshape(height, -1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
