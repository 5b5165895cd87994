"""Guarded reads and writes of data: each decided, audited and recorded with its digest.

path → decision (`AccessDecider`) → audit event → bytes → manifest of the current training run

In a training run what is read is first copied to a private temporary file and hashed there, so that
the recorded digest is that of the bytes that were read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlsecops.access.guard import AccessGuard
from mlsecops.provenance import Digest, Manifest, hash_path
from mlsecops.provenance.lineage import TrainingRun, current_run

__all__ = ["DataAccess"]

_LONGEST_NAME: Final = 255  # bytes; Linux, NAME_MAX; a key of S3 has up to 1,024
READ: Final = "dataset:read"
WRITE: Final = "dataset:write"


class DataAccess(AccessGuard):
    """What a guarded file system or store asks before it reads or writes.

    Its policy decides about `dataset:read` and `dataset:write`; its log also receives the digest of
    what was read in a training run.
    """

    __slots__ = ()

    @contextmanager
    def recorded(self, path: str, chunks: Iterable[bytes]) -> Iterator[Path]:
        """A private copy of what is read, recorded in the current training run.

        Args:
            path: Its path, which names it in the run.
            chunks: Its bytes.

        Yields:
            The copy, which lasts while the block does.
        """
        with tempfile.TemporaryDirectory(prefix="mlsecops-read-") as place:
            name = path.rsplit("/", 1)[-1]
            fits = 0 < len(os.fsencode(name)) <= _LONGEST_NAME
            copy = Path(place) / (name if fits else "data")
            with copy.open("wb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
            self.note(path, hash_path(copy).renamed(path))
            yield copy

    @property
    def run(self) -> TrainingRun | None:
        """The training run that reads are recorded in, or None outside of one."""
        return current_run()

    def note(self, path: str, data: Manifest) -> None:
        """Record what was read, in the current training run and the audit log.

        Args:
            path: Its path.
            data: Its manifest.

        Raises:
            AccessDenied: It cannot be recorded.
        """
        if (run := self.run) is not None:
            run.add_dataset(data)
        digest: Digest = data.root
        event = {"type": "read", "at": self.clock().isoformat(), "resource": path}
        self.record({**event, "digest": str(digest), "bytes": data.size}, READ)
