"""Attacks on incidents: on their evidence, their log, and on a run by killing it."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlsecops.signing import Signer, sign

_WRITES = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.chmod", "os.rmdir"})


def change_byte(path: Path, offset: int) -> None:
    """Flip one byte of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def exchange_evidence(path: Path, data: bytes, signer: Signer) -> None:
    """Put other evidence in place, signed with a key that the policy trusts."""
    path.unlink()
    path.write_bytes(data)
    sign(path, signer)


def with_second_entry(archive: bytes, name: str, data: bytes) -> bytes:
    """The archive with another entry of that name before the others, which readers may prefer."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(data))
        added = stream.tell()
    return stream.getvalue()[:added] + archive


def archive(contents: Mapping[str, bytes], *, link: str | None = None) -> bytes:
    """A tar of just these documents, one of them as a link if it is named."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            if name == link:
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def kill_at_write(number: int, action: Callable[[], object]) -> bool:
    """Run an action in a process that SIGKILL ends just before its n-th write.

    Returns:
        Whether it died; False when the action made fewer writes than that.
    """
    child = os.fork()
    if child == 0:
        left = number

        def watch(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            writes = event in _WRITES or event == "sqlite3.connect"
            if event == "open" and isinstance(args[2], int):
                writes = bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            action()
        except BaseException:  # noqa: BLE001 - the parent reads the exit status
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, -signal.SIGKILL}:
        raise AssertionError(f"the action failed with status {status} before write {number}")
    return status == -signal.SIGKILL


def edit_cacao(text: str, edit: Callable[[dict[str, Any]], object]) -> str:
    """Change a playbook's JSON."""
    playbook = json.loads(text)
    edit(playbook)
    return json.dumps(playbook)
