"""Delivery of a pipeline's files into a folder, without anything of an earlier one.

name → bytes → staged files → renamed into place, the index last → record of what was written; files
of the record before that are no longer written are removed, unless somebody changed them
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

RECORD: Final = ".deliverables.json"
"""Name of the record of what the last delivery wrote."""

_INDEX: Final = "index.html"
_STAGE: Final = ".deliver-"
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
        UsageError: The folder cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        for left in target.glob(f"{_STAGE}*"):
            shutil.rmtree(left)
        stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=target))
        try:
            _replace(target, stage, files, completed)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write into {target}: {error.strerror or error}") from error


def _replace(
    target: Path, stage: Path, files: Mapping[str, bytes], completed: Collection[str]
) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    record = {"schema": "mlsecops.delivery/1", "files": digests}
    staged = {**files, RECORD: f"{json.dumps(record, indent=1, sort_keys=True)}\n".encode()}
    for name, content in staged.items():
        place = stage / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    earlier = dict(_recorded(target / RECORD))
    for name in sorted(staged, key=lambda each: each == _INDEX):
        if name in completed and _changed(target / name, earlier.get(name)):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).replace(target / name)
    for name in earlier.keys() - files.keys():
        _remove(target, name, earlier[name])


def _recorded(path: Path) -> Iterator[tuple[str, str]]:
    """The files of the last delivery; none if the record is absent or not ours."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return
    try:
        record: Any = parse_json(path.read_bytes(), what=str(path), error=UsageError)
    except UsageError:
        return
    listed = record.get("files") if isinstance(record, dict) else None
    for name, digest in listed.items() if isinstance(listed, dict) else ():
        if "\0" not in name:
            yield name, str(digest)


def _changed(place: Path, digest: str | None) -> bool:
    """Whether a file is there and is not the one that a delivery wrote."""
    return place.is_file() and hashlib.sha256(place.read_bytes()).hexdigest() != digest


def _remove(target: Path, name: str, digest: str) -> None:
    """Remove a file that a delivery wrote and nobody changed, and its folder if that is empty."""
    parts = PurePosixPath(name).parts
    place = target.joinpath(*parts)
    inside = place.resolve().is_relative_to(target.resolve())
    if ".." in parts or not inside or place.is_symlink() or not place.is_file():
        return
    if _changed(place, digest):
        return
    place.unlink()
    folder = place.parent
    if folder != target and not any(folder.iterdir()):
        folder.rmdir()
