"""Atomic publication of an output folder: whole at the end, or not at all."""

from __future__ import annotations

import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlsecops.errors import UsageError


@contextmanager
def staged(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a private sibling folder of `out`; its content moves there when the block succeeds.

    If the block ends early (an error, Ctrl-C, a termination), the private folder is removed and
    `out` stays as it was. With `overwrite`, results replace those of the same name.
    """
    place = out.absolute()
    if place.exists() and not place.is_dir():
        raise UsageError(f"{out} is a file: expected a folder, or a name for a new one")
    if not overwrite and place.is_dir() and any(place.iterdir()):
        raise UsageError(
            f"{out} is not empty: name another folder with --out, or pass --overwrite to replace "
            "the results in it"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        private = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        private.mkdir()
    except OSError as error:
        raise UsageError(f"cannot write next to {out}: {error.strerror}") from error
    try:
        yield private
        with _uninterrupted():
            _publish(private, place)
    finally:
        with _uninterrupted():
            _remove(private)


def _publish(private: Path, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for item in sorted(private.iterdir()):
        target = place / item.name
        if target.is_dir() and not target.is_symlink():
            _remove(target)
        elif target.is_symlink() or target.exists():
            target.unlink()
        item.rename(target)


def _remove(folder: Path) -> None:
    """Remove a folder, including the registry's read-only ones."""
    if not folder.exists():
        return
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    both = (signal.SIGINT, signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, both)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
