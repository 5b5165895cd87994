"""A writer that races a loader: run as a process of its own, it changes a file without rest.

``python racing.py FILE SEED`` swaps, overwrites, truncates, appends to, renames and relinks the
file, puts the true bytes back after each, and does so until its standard input closes. The true
bytes are those of ``FILE.true``, the false ones those of ``FILE.false``.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def swap(file: Path, false: bytes) -> None:
    """Put another file in its place."""
    _replace(file, false)


def overwrite(file: Path, false: bytes) -> None:
    """Write other bytes into it."""
    with file.open("r+b") as stream:
        stream.write(false)


def truncate(file: Path, false: bytes) -> None:
    """Cut it."""
    os.truncate(file, len(false) // 2)


def append(file: Path, false: bytes) -> None:
    """Lengthen it."""
    with file.open("ab") as stream:
        stream.write(false[:99])


def rename(file: Path, false: bytes) -> None:
    """Move it away, then something else where it was."""
    other = Path(f"{file}.other")
    other.write_bytes(false)
    away = Path(f"{file}.away")
    away.unlink(missing_ok=True)  # while the file is away nothing slow must happen
    file.rename(away)
    other.rename(file)


def relink(file: Path, false: bytes) -> None:
    """Make a symlink to something else of it."""
    link = Path(f"{file}.link")
    Path(f"{file}.else").write_bytes(false)
    link.symlink_to(f"{file}.else")
    link.rename(file)


CHANGES: tuple[Callable[[Path, bytes], None], ...] = (
    swap,
    overwrite,
    truncate,
    append,
    rename,
    relink,
)


def _replace(file: Path, data: bytes) -> None:
    fresh = Path(f"{file}.fresh")
    fresh.write_bytes(data)
    fresh.replace(file)


def race(file: Path, seed: int) -> None:
    """Change the file without rest until standard input closes."""
    chance = random.Random(seed)  # noqa: S311 - when to write, no secret
    true, false = Path(f"{file}.true").read_bytes(), Path(f"{file}.false").read_bytes()
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    while not closed.is_set():
        chance.choice(CHANGES)(file, false)
        time.sleep(chance.uniform(0, 0.004))
        _replace(file, true)
        time.sleep(chance.uniform(0, 0.04))
    _replace(file, true)


@contextlib.contextmanager
def racing(file: Path, false: bytes, *, seed: int = 0) -> Iterator[Any]:
    """A writer that races for the time of the block; afterwards the file is the true one."""
    Path(f"{file}.true").write_bytes(file.read_bytes())
    Path(f"{file}.false").write_bytes(false)
    writer = subprocess.Popen(
        [sys.executable, "-I", __file__, str(file), str(seed)], stdin=subprocess.PIPE
    )
    try:
        yield writer
    finally:
        writer.communicate(timeout=120)


if __name__ == "__main__":
    race(Path(sys.argv[1]), int(sys.argv[2]))
