"""Who attacks a monitored model, or its monitoring: each attack in a line or two."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import pack, unpack
from mlsecops.errors import ModelIsolated
from mlsecops.findings import Alert

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


def line_thief(seed: int, pool: Floats, *, queries: int) -> Floats:
    """Ten points on the line between each of many pairs of natural rows."""
    ends = pool[np.random.default_rng(seed).choice(len(pool), (queries // 10, 2))]
    steps = np.linspace(0, 1, 10)[None, :, None]
    return (ends[:, :1] * (1 - steps) + ends[:, 1:] * steps).reshape(queries, -1)


def boundary_thief(
    seed: int, pool: Floats, answer: Callable[[Floats], Floats], *, queries: int
) -> Floats:
    """Bisects between two natural rows of different classes, then tries around the boundary."""
    rng = np.random.default_rng(seed)
    one = pool[rng.integers(len(pool))]
    name = answer(one[None]).argmax()
    other = next(row for row in rng.permutation(pool) if answer(row[None]).argmax() != name)
    walked = []
    for _ in range(20):
        walked.append((one + other) / 2)
        if answer(walked[-1][None]).argmax() == name:
            one = walked[-1]
        else:
            other = walked[-1]
    around = one + rng.normal(scale=0.2, size=(queries - len(walked), len(one)))
    return np.concatenate([walked, around])


def stepping_thief(seed: int, pool: Floats, slopes: Floats, *, queries: int, step: float) -> Floats:
    """Twenty natural rows, each moved on along the sign of a slope again and again."""
    rows = pool[np.random.default_rng(seed).choice(len(pool), 20)]
    while len(rows) < queries:
        rows = np.concatenate([rows, rows + step * np.sign(slopes)])
    return rows[:queries]
