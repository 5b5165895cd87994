"""Held folder: the files of a model, under their own names, in one private folder.

names with their files → private folder (read-only file system in memory, where one can be mounted)
→ a Held for each → one hashing pass → seal → folder and Snapshot

Each file in it is a regular one, so that readers that resolve paths, or refuse links, work.

- `sealed`: copies in a file system in memory that is read-only from then on.
- `pinned`: the files themselves, leased and bound to their names in such a file system; what
  cannot be leased, and all but the `LEASES` largest, is copied into it.
- `private-copy`: copies on disk; also where nothing can be mounted. A copy that was changed is
  reported at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mlsecops._choices import one_of
from mlsecops._platform import CLOEXEC, write_at
from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.loading.holding.active import registered
from mlsecops.loading.holding.mounts import bind_file, make_read_only, mount_memory, unmount
from mlsecops.loading.leases import take_lease
from mlsecops.loading.limits import Limits
from mlsecops.loading.memory import copy_mappings
from mlsecops.loading.snapshot import TIERS, Snapshot, Source, Tier
from mlsecops.loading.snapshot_tiers import Held, pinned
from mlsecops.provenance.files.hashing import hash_pieces
from mlsecops.provenance.files.opening import open_regular
from mlsecops.provenance.files.pieces import Found, HashTarget, Piece, Stamp, stamp_of

__all__ = ["LEASES", "held_folder"]

LEASES: Final = 256
"""Files that are leased at most, each with a descriptor; chosen: a quarter of what Linux gives a
process by default (getrlimit(2), RLIMIT_NOFILE)."""


@contextlib.contextmanager
def held_folder(
    files: Mapping[str, Found], *, tier: Tier, algorithm: str, limits: Limits
) -> Iterator[tuple[str, Snapshot]]:
    """Hold files in a private folder, and hash what is held.

    Args:
        files: Relative name → regular file.
        tier: Wanted tier; see the module.
        algorithm: Digest algorithm.
        limits: Ceiling of each size.

    Yields:
        The folder, which goes when the block ends, and the snapshot of its files.

    Raises:
        UsageError: The tier is unknown, or a file cannot be opened or held.
        ChangedDuringLoad: A file changed meanwhile; also at the end of the block.
        LimitExceeded: One is too large.
    """
    one_of("tier", tier, TIERS)
    for name, found in files.items():
        limits.require("file_bytes", found.size, where=name)
    with _place(tier) as place:
        try:
            held = place.take_all(files)
            digests = hash_pieces([each.piece for each in held.values()], algorithm=algorithm)
            place.seal()
        except OSError as error:
            what = f"cannot hold {', '.join(list(files)[:3])} {tier}"
            raise UsageError(f"{what}: {error.strerror or error}") from error
        whole = Snapshot(
            sources={
                name: Source(name=name, path=each.path, size=each.piece.size)
                for name, each in held.items()
            },
            digests=dict(zip(held, digests, strict=True)),
            held=held,
        )
        try:
            yield place.path, whole
            whole.confirm()
        finally:
            copy_mappings(place.pinned)


class _Place:
    """A private folder that is being filled.

    Args:
        path: The folder.
        tier: How the bytes in it are held.
        stack: What closes descriptors and takes mounts away.
    """

    def __init__(self, path: str, tier: Tier, stack: contextlib.ExitStack) -> None:
        self.path = path
        self.pinned: list[int] = []
        """Descriptors of the leased files."""
        self._tier: Tier = tier
        self._stack = stack
        self._copies: list[_Copy] = []

    def take_all(self, files: Mapping[str, Found]) -> dict[str, Held]:
        """Prepare to hold files; hashing their pieces fills the copies."""
        leased: set[str] = set()
        if self._tier == "pinned":
            leased = set(sorted(files, key=lambda name: -files[name].size)[:LEASES])
        return {
            name: (self._pin(name, found) if name in leased else None) or self._copy(name, found)
            for name, found in files.items()
        }

    def seal(self) -> None:
        """Let nobody write to the folder any more, or notice who does."""
        for copy in self._copies:
            copy.finish()
        if self._tier != "private-copy":
            make_read_only(self.path)

    def _pin(self, name: str, found: Found) -> Held | None:
        descriptor = open_regular(found.path)
        self._stack.callback(os.close, descriptor)
        if not take_lease(descriptor):
            return None
        place = self._room(name)
        os.close(_new(place))
        bind_file(descriptor, place)
        self._stack.callback(unmount, place)
        self.pinned.append(descriptor)
        return dataclasses.replace(pinned(descriptor, name), path=place)

    def _copy(self, name: str, found: Found) -> Held:
        copy = _Copy(name, self._room(name), found.size)
        self._copies.append(copy)
        self._stack.callback(copy.close)
        piece = Piece(found, target=HashTarget(write=copy.write))
        if self._tier == "private-copy":
            return Held(path=copy.path, tier="private-copy", piece=piece, confirm=copy.confirm)
        return Held(path=copy.path, tier="sealed", piece=piece)

    def _room(self, name: str) -> str:
        place = Path(self.path, name)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(place)


class _Copy:
    """A new file, open only while it is written, so that any number of them can be prepared.

    Args:
        name: Its name for messages.
        path: Where it appears.
        size: Bytes that it will have.
    """

    def __init__(self, name: str, path: str, size: int) -> None:
        self.path = path
        self._name = name
        self._size = size
        self._descriptor: int | None = None
        self._stamp: Stamp | None = None

    def write(self, part: memoryview, at: int) -> None:
        """Write bytes at an offset; the hashing pass refuses any after the announced end."""
        if not part or at >= self._size:
            return
        if self._descriptor is None:
            self._descriptor = _new(self.path)
        while part:
            done = write_at(self._descriptor, part, at)
            part, at = part[done:], at + done
        if at >= self._size:
            self.close()

    def finish(self) -> None:
        """Make a file that has no bytes, and remember the state of the file."""
        if not self._size:
            os.close(_new(self.path))
        self._stamp = stamp_of(os.lstat(self.path))

    def close(self) -> None:
        """End the writing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def confirm(self) -> None:
        """Demand that nobody changed the file since.

        Raises:
            ChangedDuringLoad: Somebody did.
        """
        try:
            unchanged = stamp_of(os.lstat(self.path)) == self._stamp
        except OSError:
            unchanged = False
        if not unchanged:
            raise ChangedDuringLoad(
                f"{self._name}: expected the private copy as it was made, got another file or "
                "time of change; discard what was read, and find out who writes there"
            )


def _new(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC, 0o400)


@contextlib.contextmanager
def _place(tier: Tier) -> Iterator[_Place]:
    """A private folder, in memory unless the tier is `private-copy` or nothing can be mounted."""
    with contextlib.ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="mlsecops-")
        folder = os.path.realpath(stack.enter_context(made))
        if tier != "private-copy":
            try:
                mount_memory(folder)
            except OSError:
                tier = "private-copy"
            else:
                stack.callback(unmount, folder)
        stack.enter_context(registered(folder))
        yield _Place(folder, tier, stack)
