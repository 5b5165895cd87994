"""Objects of a hub or bucket for a scan: one at a time in a private folder.

URL (`hf://`, `s3://`, `gs://`, …) → listing → empty files of the same sizes → each filled while it
is scanned, and emptied again

The disk holds one object at a time. Of safetensors only the header is fetched, which is all that a
scan of them reads.

Source: fsspec, `AbstractFileSystem.open`; safetensors README, "Format".
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops.errors import ChangedDuringLoad, UsageError
from mlsecops.loading.scanning.entries import Exclusion, ScanEntries, excluded
from mlsecops.provenance.files.pieces import Found
from mlsecops.provenance.files.remote import RemoteFile, list_objects, opened_object

_PIECE: Final = 1 << 22  # bytes; chosen: one request of a store for each
_LENGTH: Final = 8  # bytes; safetensors README, "Format": u64 length of the header
_HEADER: Final = 100 << 20  # bytes; default of `Limits.header_bytes`: a longer one is refused


@contextlib.contextmanager
def remote_entries(url: str, *, exclude: Collection[str]) -> Iterator[ScanEntries]:
    """List a URL for a scan; `filled` of the entries fetches an object for a block.

    Args:
        url: An object, or a prefix with everything below it.
        exclude: Patterns, as `Exclusion` takes them.

    Yields:
        The entries; their files go when the block ends.

    Raises:
        UsageError: Nothing is there, or it cannot be read.
        UnsafeContent: An object's key is no relative path.
        MissingExtra: What reads the scheme is not installed.
    """
    objects, single, _ = list_objects(url, ignore=())
    left_out = Exclusion(exclude)
    wanted = {name: each for name, each in sorted(objects.items()) if not left_out(name)}
    hidden = len(objects) - len(wanted)
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        files = {name: Found(str(Path(folder, name)), each.size) for name, each in wanted.items()}
        for found in files.values():
            _empty(found)

        @contextlib.contextmanager
        def filled(name: str) -> Iterator[None]:
            _fetch(wanted[name], files[name])
            try:
                yield
            finally:
                _empty(files[name])

        yield ScanEntries(
            files=files,
            verdicts=(excluded(url, hidden),) if hidden else (),
            single=single,
            filled=filled,
        )


def _empty(found: Found) -> None:
    """A file of the same size that takes no space, for others that refer to it."""
    try:
        place = Path(found.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as stream:
            stream.truncate(found.size)
    except OSError as error:
        raise UsageError(
            f"cannot place {place.name} for the scan: {error.strerror}; scan the objects one by one"
        ) from error


def _fetch(remote: RemoteFile, found: Found) -> None:
    """Fetch an object, or the header of safetensors."""
    total = 0
    with opened_object(remote.url) as stream, Path(found.path).open("r+b") as file:
        for part in _parts(stream, remote):
            file.write(part)
            total += len(part)
    size = os.stat(found.path).st_size  # noqa: PTH116 - no path object is needed
    if size != remote.size or total > remote.size or (total < remote.size and not _heads(remote)):
        raise ChangedDuringLoad(
            f"{remote.url} changed while it was fetched: expected {remote.size} bytes, got "
            f"{max(size, total)}; stop the writer and retry"
        )


def _parts(stream: Any, remote: RemoteFile) -> Iterator[bytes]:
    most = remote.size + 1  # a byte more than expected shows that the object grew
    if _heads(remote):
        yield (length := stream.read(_LENGTH))
        most = min(most - len(length), int.from_bytes(length, "little"), _HEADER)
    while most > 0 and (part := stream.read(min(most, _PIECE))):
        yield part
        most -= len(part)


def _heads(remote: RemoteFile) -> bool:
    return remote.url.endswith(".safetensors") and remote.size > _LENGTH
