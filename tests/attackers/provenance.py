"""Attacks on hashing: each changes one thing that a manifest must notice."""

from __future__ import annotations

import os
from pathlib import Path


def flip_byte(path: Path, *, at: int = 0) -> None:
    """Change one bit and nothing else: the size stays."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_byte_and_put_the_time_back(path: Path) -> None:
    """Change one bit, then restore access and modification time as they were."""
    before = path.stat()
    flip_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_folder_for_link(folder: Path, target: Path) -> None:
    """Move a folder away and put a symlink to another in its place."""
    folder.rename(folder.with_name(f"{folder.name}-moved"))
    folder.symlink_to(target)
