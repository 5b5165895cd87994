"""Forged baselines, profiles and sketches: each forgery in a line or two."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from mlsecops.drift.array_files import pack, unpack


def flipped(data: bytes, place: int) -> bytes:
    """Bytes with one bit flipped."""
    changed = bytearray(data)
    changed[place % len(data)] ^= 1
    return bytes(changed)


def forged(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A file of ours with another header and a checksum that fits."""
    (length,) = struct.unpack(">I", data[8:12])
    header = json.loads(data[12 : 12 + length])
    change(header)
    raw = json.dumps(header).encode()
    content = data[:8] + struct.pack(">I", len(raw)) + raw + data[12 + length : -32]
    return content + hashlib.sha256(content).digest()


def wrapped_counts(data: bytes) -> bytes:
    """A profile whose counts pass the end of int64 and so add up to its number of rows."""
    facts, arrays = unpack(data, "profile", where="profile")
    counts = np.zeros_like(arrays["counts"])
    counts[:, :2], counts[:, 2] = np.iinfo(np.int64).max, 2 + facts["count"]
    missing = np.zeros_like(arrays["missing"])
    return pack("profile", facts, {**arrays, "counts": counts, "missing": missing})
