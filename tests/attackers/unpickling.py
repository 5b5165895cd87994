"""Names that Python's own unpicklers reach for in a file; what they get is a stand-in."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
from typing import Any

import numpy as np

from mlsecops.loading.allowed import pickle_globals


class StandIn:
    """Takes whatever a pickle does to an object, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> StandIn:
        return StandIn()

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, *_: object) -> None:
        pass

    def append(self, *_: object) -> None:
        pass

    def extend(self, *_: object) -> None:
        pass


class _Recording:
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)  # type: ignore[call-arg]
        self.seen: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.seen.append(f"{module}.{name}")
        return StandIn

    def persistent_load(self, _: object) -> Any:
        return StandIn()


class _InC(_Recording, pickle.Unpickler):
    pass


class _InPython(_Recording, pickle._Unpickler):  # type: ignore[name-defined,misc]
    pass


def reached(data: bytes) -> set[str]:
    """Names outside the allowlist that one of the two unpicklers would have imported."""
    found: set[str] = set()
    for kind in (_InC, _InPython):
        unpickler: Any = kind(io.BytesIO(data))
        with contextlib.suppress(Exception):
            unpickler.load()
        found.update(unpickler.seen)
    return found - pickle_globals()


def seeds() -> list[bytes]:
    """Pickles of every protocol, and ways to a name."""
    values = ({"a": np.arange(3)}, [1, 2.0, "x"], collections.OrderedDict(a=1), np.dtype("f4"),
              {1: {2: [b"x" * 300]}}, print, eval)  # fmt: skip
    return [
        *(pickle.dumps(value, protocol=protocol) for value in values for protocol in range(6)),
        b"cos\nsystem\n(S'echo'\ntR.",
        b"(S'echo'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93.",
    ]
