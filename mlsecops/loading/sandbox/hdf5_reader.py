"""Whether an HDF5 file keeps to itself, as asked of a process that may die over it.

The HDF5 library crashes on some damaged files and never returns from others. So it is let at a
file in a child first, within limits of time and memory; what it read to the end there, it is
trusted to read here.
"""

from __future__ import annotations

import dataclasses
import io
import os
from typing import Any, Final

from mlsecops.errors import (
    FormatRefused,
    LimitExceeded,
    MissingExtra,
    UnsafeContent,
)
from mlsecops.loading.containers.zip_archive import StreamSlice
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_walk import CONFIG, Walked, walk
from mlsecops.loading.sandbox.worker import Died, ask
from mlsecops.loading.snapshot import Source

__all__ = ["CONFIG", "Walked", "require_contained"]

_ROOM: Final = 1 << 20
"""Bytes of an answer besides the configuration, which JSON may make six times as long."""
_FAILURES: Final = {each.__name__: each for each in (FormatRefused, LimitExceeded, MissingExtra)}


def require_contained(
    source: Source, *, where: str, limits: Limits, start: int = 0, size: int | None = None
) -> Walked:
    """Check every link, attribute and data set.

    Args:
        source: The file that the HDF5 file is, or is a part of.
        where: Name for messages.
        limits: Ceilings of count, size, ratio and time.
        start: Where it begins, in bytes.
        size: How many bytes it has; to the end of the source by default.

    Raises:
        UnsafeContent: Something refers outside the file, or needs a plugin.
        LimitExceeded: A data set declares far more than it stores, there are too many, or reading
            takes too long.
        FormatRefused: It cannot be read.
        MissingExtra: h5py is not installed.
    """
    size = source.size - start if size is None else size
    with source.stream() as stream:
        if not hasattr(os, "fork"):
            part = io.BufferedReader(StreamSlice(stream, start, size))
            return walk(part, where=where, limits=limits)
        question = {
            "where": where,
            "start": start,
            "size": size,
            "limits": dataclasses.asdict(limits),
        }
        try:
            answer = ask(stream.fileno(), question, most=_ROOM + 6 * limits.header_bytes)
        except Died as death:
            raise _refusal(death, where, limits) from death
    if "error" in answer:
        raise _failure(answer)
    return Walked(numbers=answer["numbers"], config=answer["config"])


def _refusal(death: Died, where: str, limits: Limits) -> LimitExceeded | FormatRefused:
    if death.late:
        return LimitExceeded(
            f"{where}: the HDF5 library was not through with it after {limits.seconds} seconds: "
            "it is damaged, or made to keep a reader busy; raise Limits(seconds=…) if it is honest"
        )
    return FormatRefused(
        f"{where}: the HDF5 library crashed over it ({death}): it is damaged, or hostile"
    )


def _failure(answer: dict[str, Any]) -> Exception:
    kind, message = answer["error"], answer["message"]
    if kind == UnsafeContent.__name__:
        return UnsafeContent(message, rule=answer["rule"], where=answer["where"])
    return _FAILURES[kind](message) if kind in _FAILURES else RuntimeError(message)
