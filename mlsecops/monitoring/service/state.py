"""State of one process: its counters, histograms, gauges and recent windows, as bytes.

Series, windows of their monitors → ProcessState → bytes → ProcessState of another process

It holds no input, answer or name of a client; a digest of the name stands for each.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.array_files import decode, pack
from mlsecops.monitoring.telemetry.exporter import Attributes, Distribution, Points, Series
from mlsecops.monitoring.telemetry.metrics import METRICS, metric
from mlsecops.readings import Metric

_KIND: Final = "state of a process"

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class WindowState:
    """What one monitor knows of its recent traffic.

    Attributes:
        facts: Plain numbers and texts.
        arrays: Counts and answers, by name.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class ProcessState:
    """What a process exports, by monitor name.

    Attributes:
        points: Monitor → metric's name → points.
        windows: Monitor → its recent traffic.
        ended: Names of the processes that an archive contains.
    """

    points: dict[str, dict[str, Points]] = field(default_factory=dict)
    windows: dict[str, WindowState] = field(default_factory=dict)
    ended: tuple[str, ...] = ()

    @classmethod
    def of(cls, series: Iterable[Series]) -> ProcessState:
        """The points of this process's Series."""
        return cls(
            {each.monitor: {m.name: dict(each.points(m)) for m in METRICS} for each in series}
        )

    def add(self, other: ProcessState) -> None:
        """Add the counters and histograms of another process."""
        for monitor, metrics in other.points.items():
            own = self.points.setdefault(monitor, {})
            for name, points in metrics.items():
                if metric(name).kind != "gauge":
                    add_points(own.setdefault(name, {}), points)

    def to_bytes(self) -> bytes:
        """Serialise."""
        facts = {
            "points": [
                [monitor, name, [[list(key), _plain(value)] for key, value in points.items()]]
                for monitor, metrics in self.points.items()
                for name, points in metrics.items()
                if points
            ],
            "windows": [[name, _plain(each.facts)] for name, each in self.windows.items()],
            "ended": list(self.ended),
        }
        arrays = {
            f"{place} {name}": array
            for place, each in enumerate(self.windows.values())
            for name, array in each.arrays.items()
        }
        return pack(_KIND, facts, arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProcessState:
        """Parse what `to_bytes` wrote, and nothing else.

        Raises:
            FormatRefused: The bytes are no state.
            LimitExceeded: They are too many.
        """
        return decode(data, _KIND, _parse, where="state")


def add_points(own: Points, other: Points) -> None:
    """Add the points of a counter or histogram of another process to those of this one."""
    for key, value in other.items():
        own[key] = own[key] + value if key in own else value


def hashed(client: str | None) -> int:
    """A number that stands for a client in every process of the service."""
    text = b"" if client is None else b"=" + client.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def _plain(value: Any) -> Any:
    """A value as JSON has it: of infinity and NaN the text, which `float` reads."""
    if isinstance(value, Distribution):
        return [_plain(value.total), value.counts.tolist()]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (int, str)) or value is None:
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def _parse(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ProcessState:
    state = ProcessState(ended=tuple(str(name) for name in facts["ended"]))
    known = {each.name: each for each in METRICS}
    for monitor, name, points in facts["points"]:
        if name in known:  # another version of this package may know other metrics
            read = dict(_point(known[name], *point) for point in points)
            state.points.setdefault(str(monitor), {})[name] = read
    for place, (monitor, plain) in enumerate(facts["windows"]):
        start = f"{place} "
        own = {key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)}
        state.windows[str(monitor)] = WindowState(dict(plain), own)
    return state


def _point(read: Metric, key: list[Any], value: Any) -> tuple[Attributes, Any]:
    attributes = tuple(str(each) for each in key)
    if len(attributes) + 1 != len(read.attributes):
        raise ValueError(f"{read.name}: attributes")
    if read.kind != "histogram":
        return attributes, float(value)
    total, counts = value
    if len(counts) != len(read.bounds) + 1:
        raise ValueError(f"{read.name}: buckets")
    return attributes, Distribution(np.array(counts, dtype=np.int64), float(total))
