"""Attacks on a registry by somebody with write access to its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.audit.objects import FolderStore
from mlsecops.audit.tlog import TileLog
from mlsecops.provenance import Digest
from mlsecops.signing import Signer


def blob_of(location: Path, data: bytes) -> Path:
    """Where the registry keeps these bytes."""
    digest = Digest.of(data)
    return location / "blobs" / "sha256" / digest.hex[:2] / digest.hex


def change_blob(location: Path, data: bytes, forged: bytes) -> None:
    """Write other bytes over a blob."""
    place = blob_of(location, data)
    place.chmod(0o644)
    place.write_bytes(forged)


def _open_up(folder: Path) -> None:
    folder.chmod(0o755)
    for place in folder.rglob("*"):
        place.chmod(0o755)


def change_materialised(folder: Path, name: str, forged: bytes) -> None:
    """Write other bytes over a file of a resolved folder."""
    _open_up(folder)
    (folder / name).write_bytes(forged)


def swap_materialised(folder: Path, other: Path) -> None:
    """Put another validly signed model where a resolved folder is."""
    _open_up(folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def copy_log(location: Path) -> dict[str, bytes]:
    """The bytes of head, checkpoint and tiles."""
    places = [location / "head", *(location / "log").rglob("*")]
    return {
        place.relative_to(location).as_posix(): place.read_bytes()
        for place in places
        if place.is_file()
    }


def restore_log(location: Path, copied: dict[str, bytes]) -> None:
    """Put an older copy of the log back, or another log: every signature in it is genuine."""
    remove_log(location)
    for name, data in copied.items():
        place = location / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def remove_log(location: Path) -> None:
    """Delete the log, so that quarantines are forgotten."""
    (location / "head").unlink()
    shutil.rmtree(location / "log")


def entries_of(location: Path) -> list[bytes]:
    """Entries of the log, read without checking."""
    reader = TileLog(FolderStore(location), prefix="log/", head="head")
    note = (location / "log" / "checkpoint").read_text()
    return list(reader.entries(0, Checkpoint.parse(note)))


def rewrite_log(
    location: Path, signer: Signer, entries: list[bytes], *, origin: str | None = None
) -> None:
    """Write a whole new log, of the same name by default, with an operator's own key."""
    note = (location / "log" / "checkpoint").read_text()
    remove_log(location)
    name = origin or Checkpoint.parse(note).origin
    log = TileLog(FolderStore(location), prefix="log/", head="head", signer=signer, origin=name)
    log.append(entries, size=0)


def fork_log(location: Path, signer: Signer, *, size: int) -> None:
    """Write a log of the same name and of a size, with other entries."""
    created = [_event(type="created", fork=number) for number in range(size)]
    rewrite_log(location, signer, created)


def forge_event(location: Path, **event: object) -> None:
    """Add an event that the operator did not sign, and all tiles that it needs."""
    note = (location / "log" / "checkpoint").read_text()
    entries = [*entries_of(location), _event(**event)]
    rewrite_log(location, Signer.generate("ed25519"), entries)
    forged = (location / "log" / "checkpoint").read_text().partition("\n\n")[0]
    replace_checkpoint(location, f"{forged}\n\n{note.partition(chr(10) * 2)[2]}")


def as_earlier_release(location: Path, signer: Signer) -> AuditLog:
    """Put the log in the form of an earlier release, in which the attacker has no hand."""
    entries = entries_of(location)
    remove_log(location)
    log = AuditLog(location / "log.sqlite", signer=signer)
    for entry in entries:
        log.append(json.loads(entry))
    return log


def replace_checkpoint(location: Path, note: str) -> None:
    """Write another checkpoint."""
    place = location / "log" / "checkpoint"
    place.unlink()
    place.write_text(note)


def _event(**event: object) -> bytes:
    return json.dumps({"at": "2026-01-01T00:00:00+00:00", **event}).encode()
