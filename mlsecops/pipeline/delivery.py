"""Delivery of a pipeline's files into a folder, without anything of an earlier one.

name → bytes → staged files → renamed into place, the index last → record of what was written; files
of the record before that are no longer written are removed, unless somebody changed them

Deliveries into one folder wait for each other. While files are replaced, the record names those of
the delivery before as well, so that whatever a killed one left is removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops._platform import CLOEXEC, lock_whole
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

RECORD: Final = ".deliverables.json"
"""Name of the record of what the last delivery wrote."""

_INDEX: Final = "index.html"
_STAGE: Final = ".deliver-"
_MARK: Final = ".unfinished.json"
_PATIENCE: Final = 60.0  # seconds to wait for another delivery; chosen: it writes for less than one
_MOST_BYTES: Final = 4 << 20  # bytes; chosen: a record of some ten thousand files


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Result of `SecurePipeline.deliver`.

    Attributes:
        folder: Output folder.
        digest: `"sha256:<hex>"` of the model.
        files: Relative paths of the files.
    """

    folder: Path
    digest: str
    files: tuple[str, ...]


def write_delivery(
    target: Path, files: Mapping[str, bytes], *, completed: Collection[str] = ()
) -> None:
    """Write files into a folder; a delivery that is cut short leaves no half-written file.

    Args:
        target: Folder, created if absent. What others put there stays.
        files: Relative POSIX path → content.
        completed: Files that people complete: one that they changed stays as it is.

    Raises:
        UsageError: The folder cannot be written, another delivery into it does not end, or a link
            or folder stands where a file would be written; nothing was replaced then.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            _require_places(target, [*files, RECORD])
            for left in target.glob(f"{_STAGE}????????"):  # of a delivery that was killed
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
            stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=target))
            try:
                _replace(target, stage, files, completed)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write into {target}: {error.strerror or error}") from error


def require_outside(target: Path, model: Path) -> None:
    """Refuse to deliver among the files that a model's signature covers.

    Raises:
        UsageError: The folder is that of the model, or lies in it.
    """
    if model.is_dir() and target.resolve().is_relative_to(model.resolve()):
        raise UsageError(
            f"out: expected a folder outside {model}, since every file in it is signed, got "
            f"{target}; name another one"
        )


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One delivery at a time into a folder, where its file system has locks of folders."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        yield
        return
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | CLOEXEC)
    try:
        try:
            lock_whole(descriptor, target, patience=_PATIENCE)
        except TimeoutError:
            raise
        except OSError:  # such as NFS, which locks no folder
            pass
        yield
    finally:
        os.close(descriptor)


def _require_places(target: Path, names: Iterable[str]) -> None:
    """Refuse links that lead out of the folder, and folders where files would be written."""
    for name in names:
        parts = PurePosixPath(name).parts
        for depth in range(1, len(parts)):
            folder = target.joinpath(*parts[:depth])
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise UsageError(
                    f"{folder}: expected a folder of the delivery, got a link or a file; remove it"
                )
        if (place := target.joinpath(*parts)).is_dir() and not place.is_symlink():
            raise UsageError(f"{place}: expected a file of the delivery, got a folder; remove it")


def _replace(
    target: Path, stage: Path, files: Mapping[str, bytes], completed: Collection[str]
) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    earlier = _recorded(target / RECORD)
    staged = {**files, RECORD: _record(digests), _MARK: _record(digests, earlier)}
    for name, content in staged.items():
        place = stage / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (stage / _MARK).replace(target / RECORD)
    for name in sorted(files, key=lambda each: each == _INDEX):
        if name in completed and _changed(target / name, earlier.get(name, frozenset())):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).replace(target / name)
    for name in earlier.keys() - files.keys():
        _remove(target, name, earlier[name])
    (stage / RECORD).replace(target / RECORD)


def _record(
    digests: Mapping[str, str], earlier: Mapping[str, Collection[str]] | None = None
) -> bytes:
    """Bytes of a record; one with `earlier` is that of a delivery that has not ended."""
    value: dict[str, Any] = {"schema": "mlsecops.delivery/1", "files": digests}
    if earlier:
        value["earlier"] = {name: sorted(each) for name, each in earlier.items()}
    return f"{json.dumps(value, indent=1, sort_keys=True)}\n".encode()


def _recorded(path: Path) -> dict[str, frozenset[str]]:
    """Name → digests of the files that deliveries wrote; none if the record is not ours."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return {}
    try:
        record: Any = parse_json(path.read_bytes(), what=str(path), error=UsageError)
    except UsageError:
        return {}
    found: dict[str, frozenset[str]] = {}
    for part in ("files", "earlier"):
        listed = record.get(part) if isinstance(record, dict) else None
        for name, digest in listed.items() if isinstance(listed, dict) else ():
            digests = map(str, digest if isinstance(digest, list) else [digest])
            if "\0" not in name:
                found[name] = found.get(name, frozenset()) | {*digests}
    return found


def _changed(place: Path, digests: Collection[str]) -> bool:
    """Whether a file is there and is none that a delivery wrote."""
    return place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() not in digests


def _remove(target: Path, name: str, digests: Collection[str]) -> None:
    """Remove a file that a delivery wrote and nobody changed, and its folder if that is empty."""
    parts = PurePosixPath(name).parts
    place = target.joinpath(*parts)
    inside = place.resolve().is_relative_to(target.resolve())
    if ".." in parts or not inside or place.is_symlink() or not place.is_file():
        return
    if _changed(place, digests):
        return
    place.unlink()
    folder = place.parent
    if folder != target and not any(folder.iterdir()):
        folder.rmdir()
