"""Attacks on a registry by somebody with write access to its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mlsecops.provenance import Digest
from tests.attackers.audit import insert_entry


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


def forge_event(location: Path, **event: object) -> None:
    """Add an event that the operator did not sign."""
    body = json.dumps({"at": "2026-01-01T00:00:00+00:00", **event}).encode()
    insert_entry(location / "log.sqlite", body)


def remove_log(location: Path) -> None:
    """Delete the log, so that quarantines are forgotten."""
    (location / "log.sqlite").unlink()
