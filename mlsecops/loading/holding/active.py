"""Held folders in use, and code that reads verified bytes: what a check need not look at again.

`held_folder` → registered while it exists → `is_held` of a path
a framework's call on verified bytes → `reading` → `is_reading` in the calls that it makes
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

__all__ = ["is_held", "is_reading", "reading", "registered"]

_folders: Final[set[str]] = set()
_reading: ContextVar[str] = ContextVar("mlsecops_reading_verified", default="")


@contextlib.contextmanager
def registered(folder: str) -> Iterator[None]:
    """Let a held folder be known until the block ends.

    Args:
        folder: Its real path.
    """
    _folders.add(folder)
    try:
        yield
    finally:
        _folders.discard(folder)


def is_held(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies in a held folder, as it is written: a link to it could be swapped later.

    Examples:
        >>> is_held("/model.safetensors")
        False
    """
    if not _folders:
        return False
    place = os.path.abspath(path)  # noqa: PTH100 - must not follow links
    return any(place == folder or place.startswith(f"{folder}/") for folder in tuple(_folders))


@contextlib.contextmanager
def reading(*, anywhere: bool = False) -> Iterator[None]:
    """Mark the calls of a block, in this thread or task, as reading verified bytes.

    Args:
        anywhere: Whether paths outside of held folders are verified too, as descriptors of this
            library are; otherwise only streams are.
    """
    token = _reading.set("anywhere" if anywhere else "streams")
    try:
        yield
    finally:
        _reading.reset(token)


def is_reading(*, anywhere: bool = False) -> bool:
    """Whether this thread or task reads verified bytes.

    Args:
        anywhere: As for `reading`.
    """
    return _reading.get() == "anywhere" if anywhere else _reading.get() != ""
