"""PNG images of a trigger: median of its rows, change against other rows, mask.

Source: Portable Network Graphics (PNG) Specification, third edition, W3C (2025), section 5
(chunks), section 7.2 (scanlines), section 11.2 (critical chunks).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.poisoning.image_layout import channels_last, image_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.poisoning.report import Trigger

_SCALE: Final = 8  # screen pixels per image pixel; chosen
_GAP: Final = 1  # image pixels between the three views; chosen
_GREY, _COLOUR = 0, 2  # colour types; PNG, section 11.2.1
_RGB: Final = 3  # channels of a colour image


def trigger_png(trigger: Trigger) -> bytes:
    """Three views side by side: the rows' median, the change against other rows, the mask.

    Args:
        trigger: One of a report's triggers; in the change, grey means no difference.

    Raises:
        UsageError: The inputs are not images.
    """
    axes = image_axes(trigger.pattern.shape)
    if axes is None:
        raise UsageError(f"trigger: inputs shaped {trigger.pattern.shape} are not images")
    pattern, change, mask = (
        channels_last(view.astype(np.float32), axes)
        for view in (trigger.pattern, trigger.change / 2 + np.float32(0.5), trigger.mask)
    )
    gap = np.full((axes[0], _GAP, axes[2]), 0.5, dtype=np.float32)
    row = np.concatenate([pattern, gap, change, gap, mask], axis=1)
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
