"""Who attacks a monitored model, or its monitoring: each attack in a line or two."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlsecops.errors import ModelIsolated
from mlsecops.findings import Alert
from mlsecops.monitoring.packing import pack, unpack

Floats = NDArray[np.float64]


def uniform_thief(seed: int, *, queries: int, features: int = 64, high: float = 16.0) -> Floats:
    """Random queries, as somebody without data sends to copy a model."""
    return np.random.default_rng(seed).uniform(0, high, size=(queries, features))


def inverted(x: Floats, *, high: float = 16.0) -> Floats:
    """Inputs that no longer look like the training data."""
    return high - x


def flood(call: Callable[..., Any], times: int, *args: Any) -> int:
    """Call as fast as possible; how many calls were refused."""
    refused = 0
    for _ in range(times):
        try:
            call(*args)
        except Exception:  # noqa: BLE001 - the attacker does not care why
            refused += 1
    return refused


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


def broken_sink(_: Alert) -> None:
    """A pager that is down."""
    raise ConnectionError("the pager is down")


class BrokenDetector:
    """A detector that raises on everything."""

    def observe(self, _: object) -> list[Any]:
        raise RuntimeError("detector bug")


class Unreachable:
    """A registry that cannot be reached."""

    def isolated(self, _: object) -> str | None:
        raise OSError("no route to registry")


def wrapped_counts(data: bytes) -> bytes:
    """A profile whose counts pass the end of int64 and so add up to its number of rows."""
    facts, arrays = unpack(data, "profile", where="profile")
    counts = np.zeros_like(arrays["counts"])
    counts[:, :2], counts[:, 2] = np.iinfo(np.int64).max, 2 + facts["count"]
    missing = np.zeros_like(arrays["missing"])
    return pack("profile", facts, {**arrays, "counts": counts, "missing": missing})


class Refusing:
    """A guard of a model that an incident isolated: nothing gets past it."""

    def check(self, client: str | None, inputs: Any) -> None:
        raise ModelIsolated(f"incident 7; {client} sent {type(inputs).__name__}")


def endless_names(count: int, *, length: int) -> list[str]:
    """Names that are long and begin alike, to fill a memory or to pass for one another."""
    return ["a" * length + str(each) for each in range(count)]
