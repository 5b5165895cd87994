"""Attacks on a monitored model, or its monitoring: each in a line or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlsecops.errors import ModelIsolated
from mlsecops.findings import Alert

Floats = NDArray[np.float64]


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


class Refusing:
    """A guard of a model that an incident isolated: nothing gets past it."""

    def check(self, client: str | None, inputs: Any) -> None:
        raise ModelIsolated(f"incident 7; {client} sent {type(inputs).__name__}")


def endless_names(count: int, *, length: int) -> list[str]:
    """Names that are long and begin alike, to fill a memory or to pass for one another."""
    return ["a" * length + str(each) for each in range(count)]
