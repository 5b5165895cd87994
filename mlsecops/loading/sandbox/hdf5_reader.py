"""HDF5 check in a worker process, which may crash on the file.

file → worker (`hdf5_walk`) → Walked, or a refusal

The HDF5 library crashes on some damaged files and never returns from others. A file is first read
to its end in a worker with limits of time and memory, and only then in this process.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from pathlib import Path
from typing import Any, Final

from mlsecops._bounded.budget import current
from mlsecops.errors import (
    FormatRefused,
    LimitExceeded,
    MissingExtra,
    UnsafeContent,
)
from mlsecops.loading.containers.zip_archive import StreamSlice
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_walk import CONFIG, TRAINING, Walked, walk
from mlsecops.loading.sandbox.worker import Died, ask
from mlsecops.loading.snapshot import Source

__all__ = ["CONFIG", "TRAINING", "Walked", "require_contained"]

_ROOM: Final = 1 << 20  # bytes; chosen: an answer without the configuration is far shorter
_FAILURES: Final = {each.__name__: each for each in (FormatRefused, LimitExceeded, MissingExtra)}


def require_contained(
    source: Source, *, where: str, limits: Limits, start: int = 0, size: int | None = None
) -> Walked:
    """Check every link, attribute and data set.

    Args:
        source: The HDF5 file, or a file that contains it.
        where: Name for messages.
        limits: Ceilings of count, size, ratio and time.
        start: Its first byte in the source.
        size: Its size in bytes; by default up to the end of the source.

    Raises:
        UnsafeContent: Something refers outside the file, or needs a plugin.
        LimitExceeded: A data set declares far more than it stores, there are too many, or reading
            takes too long.
        FormatRefused: It cannot be read.
        MissingExtra: h5py is not installed.
    """
    size = source.size - start if size is None else size
    with Path(source.path).open("rb") as stream:  # a child process takes its descriptor
        if not hasattr(os, "fork"):
            part = io.BufferedReader(StreamSlice(stream, start, size))
            return walk(part, where=where, limits=limits)
        question = {
            "where": where,
            "start": start,
            "size": size,
            "limits": dataclasses.asdict(_within(limits, where)),
        }
        try:
            # JSON escapes may make each configuration six times as long.
            answer = ask(stream.fileno(), question, most=_ROOM + 12 * limits.header_bytes)
        except Died as death:
            raise _refusal(death, where) from death
    if "error" in answer:
        raise _failure(answer)
    return Walked(numbers=answer["numbers"], config=answer["config"], training=answer["training"])


def _within(limits: Limits, where: str) -> Limits:
    """Limits of one question: the worker has the seconds that the artifact's budget has left."""
    whole = current()
    if whole is None:
        return limits
    whole.tick(where=where)
    return dataclasses.replace(limits, seconds=math.ceil(whole.seconds_left))


def _refusal(death: Died, where: str) -> LimitExceeded | FormatRefused:
    if death.late:
        return LimitExceeded(
            f"{where}: the HDF5 library did not finish within the seconds for its size: it is "
            "damaged, or made to keep a reader busy; raise Limits(seconds=…) if it is honest"
        )
    return FormatRefused(
        f"{where}: the HDF5 library crashed on it ({death}): it is damaged, or hostile"
    )


def _failure(answer: dict[str, Any]) -> Exception:
    kind, message = answer["error"], answer["message"]
    if kind == UnsafeContent.__name__:
        return UnsafeContent(message, rule=answer["rule"], where=answer["where"])
    return _FAILURES[kind](message) if kind in _FAILURES else RuntimeError(message)
