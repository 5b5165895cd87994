"""Screenshots of pages by a headless browser, decoded into pixels."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.conftest import program

Pixels = NDArray[np.uint8]


def picture(url: str, path: Path, *, width: int = 1280, height: int = 1900) -> tuple[Pixels, str]:
    """Pixels `(height, width, 3)` of a page, and the messages of its console."""
    done = subprocess.run(
        [
            program("chromium"),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=0.5",
            "--enable-logging=stderr",
            f"--user-data-dir={path.parent / 'browser'}",
            f"--window-size={width},{height}",
            f"--screenshot={path}",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return decoded(path.read_bytes()), "\n".join(console)


def decoded(data: bytes) -> Pixels:
    """An 8-bit PNG without interlacing (W3C PNG specification, sections 5 and 9)."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    channels = {2: 3, 6: 4}[colour]
    assert depth == 8
    raw, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            raw += data[at + 8 : at + 8 + length]
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(raw), np.uint8).reshape(height, 1 + width * channels)
    rows = np.zeros((height + 1, width, channels), np.uint8)
    for y, line in enumerate(lines):
        rows[y + 1] = _row(int(line[0]), line[1:].reshape(width, channels), rows[y])
    return rows[1:, :, :3]


def _row(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """One row with its filter undone (W3C PNG specification, section 9)."""
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line, axis=0, dtype=np.uint8)
    if kind == 2:
        return line + above
    channels = line.shape[1]
    made, up = line.tobytes(), above.tobytes()
    whole = bytearray(channels) + bytearray(len(made))
    upper = bytes(channels) + up
    for at in range(len(made)):
        left, over, corner = whole[at], upper[at + channels], upper[at]
        guess = (left + over) // 2 if kind == 3 else _paeth(left, over, corner)
        whole[at + channels] = (made[at] + guess) & 255
    return np.frombuffer(bytes(whole[channels:]), np.uint8).reshape(line.shape)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))


def share(pixels: Pixels, colour: str) -> float:
    """Share of the pixels that have exactly one colour (`"#b3261e"`)."""
    wanted = np.frombuffer(bytes.fromhex(colour.removeprefix("#")), np.uint8)
    return float((pixels == wanted).all(axis=2).mean())
