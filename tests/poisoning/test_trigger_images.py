from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.poisoning import Trigger, trigger_png


def trigger(shape: tuple[int, ...]) -> Trigger:
    rng = np.random.default_rng(0)
    values = rng.random(shape).astype(np.float32)
    return Trigger(label=1, rows=9, pattern=values, change=values - 0.5, mask=values > 0.5)


def decoded(data: bytes) -> Any:
    """Pixels ``(h, w, c)`` of a PNG without filters, its checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            name + body
        )
        chunks[name], at = body, at + 12 + size
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, {0: 1, 2: 3}[colour])


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 9), 1), ((8, 9, 3), 3), ((3, 8, 9), 3), ((2, 8, 9), 1)]
)
def test_picture_is_a_png_of_three_views(shape: tuple[int, ...], channels: int) -> None:
    image = decoded(trigger_png(trigger(shape)))
    assert image.shape == (8 * 8, (3 * 9 + 2) * 8, channels)
    if shape == (8, 9):
        expected = np.round(trigger(shape).pattern * 255)
        assert np.array_equal(image[::8, : 9 * 8 : 8, 0], expected)


def test_a_row_of_a_table_has_no_picture() -> None:
    with pytest.raises(UsageError, match="not images"):
        trigger_png(trigger((10,)))
