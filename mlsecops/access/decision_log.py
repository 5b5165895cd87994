"""Decision log: decisions in batches in a C2SP tile log, for thousands a second.

event → bounded queue → one checkpoint a batch, signed → log in a folder or bucket, which any client
of C2SP tlog-tiles verifies

An event is durable once its batch is written, `delay` seconds after it was appended, or at `flush`;
one whose writing was interrupted may stand in the log twice. While batches cannot be written,
events wait up to `capacity`; then `append` raises, and what cannot be recorded is denied.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from mlsecops._choices import checked, number, whole
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.audit.objects import open_store
from mlsecops.audit.pin import Pin
from mlsecops.audit.tlog import TileLog
from mlsecops.errors import EvidenceError, MalformedBundle, MLSecOpsError, UsageError

if TYPE_CHECKING:
    from mlsecops.audit import Checkpoint, LogKey, LogSigner

__all__ = ["DecisionLog"]

_MOST_BATCH: Final = 1000  # events of a checkpoint; chosen: four entry bundles of C2SP tlog-tiles
_LONGEST_EVENT: Final = 65_535  # bytes; C2SP tlog-tiles, entry bundles
_RETRY: Final = 1.0  # seconds before another try to write; chosen
_PATIENCE: Final = 30.0  # seconds that `close` waits for the last batch; chosen


@concise_repr("location", "_delay")
@checked
class DecisionLog:
    """A log of decisions in a folder or bucket, written in batches by one process.

    Args:
        location: A folder, or `s3://bucket/prefix`, `gs://`, `az://` or `memory://`.
        signer: The operator's key; without it the log is only read.
        keys: Public keys trusted for checkpoints, besides the signer's.
        origin: Name of the log that is expected, or that a new log gets.
        pinned: A checkpoint that the log must extend, as for `Registry`.
        delay: Seconds for which an event waits for others, > 0.
        capacity: Number of events that wait, at most.
        storage_options: obstore's options for a bucket.

    Raises:
        UsageError: An argument is out of its range or of another type.
        EvidenceError: The log cannot be read.
    """

    @checked
    def __init__(
        self,
        location: str | os.PathLike[str],
        *,
        signer: LogSigner | None = None,
        keys: Iterable[LogKey] = (),
        origin: str | None = None,
        pinned: Checkpoint | str | os.PathLike[str] | None = None,
        delay: float = 0.1,
        capacity: int = 10_000,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.location = location
        self._delay = number("delay", delay, "seconds above 0", lambda each: each > 0)
        self._capacity = whole("capacity", capacity, "a number of events from 1 on")
        self._log = TileLog(
            open_store(location, options=storage_options),
            prefix="log/",
            head="head",
            signer=signer,
            keys=keys,
            origin=origin,
            pin=None if pinned is None else Pin(pinned),
        )
        self._signer = signer
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._flushing = False
        self._writing = 0
        self._failure: Exception | None = None
        self._closed = False
        self._process = os.getpid()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, event: Mapping[str, Any]) -> None:
        """Take an event for the next batch.

        Args:
            event: JSON values under string keys, at most 65,535 bytes as JSON.

        Raises:
            UsageError: There is no signer, the log is closed, or the event is no JSON or too long.
            EvidenceError: As many events wait as may, because batches cannot be written; or this is
                a forked process, which writes to a log of its own.
        """
        if self._signer is None or self._closed:
            raise UsageError("decision log: expected an open log with a signer")
        if self._process != os.getpid():
            raise EvidenceError("decision log: it was opened before a fork; open one a process")
        entry = _entry(event)
        with self._changed:
            if len(self._waiting) + self._writing >= self._capacity:
                raise EvidenceError(
                    f"decision log {self.location}: {self._capacity} events wait to be written"
                    + (f": {self._failure}" if self._failure else "; make capacity= larger")
                )
            self._waiting.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="mlsecops-decisions", daemon=True
                )
                self._thread.start()
            if len(self._waiting) in {1, _MOST_BATCH}:
                self._changed.notify_all()

    def flush(self, timeout: float = _PATIENCE) -> None:
        """Wait until every event so far is durable.

        Args:
            timeout: Seconds, at most.

        Raises:
            EvidenceError: It was not written in that time.
        """
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout)
            self._flushing = False
        if not done:
            raise EvidenceError(
                f"decision log {self.location}: {len(self._waiting) + self._writing} events are "
                f"not written after {timeout:g} s: {self._failure or 'the store is slow'}"
            )

    def close(self) -> None:
        """Write what waits, and take no more; a closed log is closed again without effect.

        Raises:
            EvidenceError: The last events cannot be written.
        """
        try:
            if self._thread is not None and self._process == os.getpid():
                self.flush()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def events(self) -> Iterator[dict[str, Any]]:
        """The verified events, oldest first.

        Raises:
            EvidenceError: The log cannot be read.
            VerificationError: It was changed.
        """
        try:
            tail = self._log.tail()
            entries = tuple(tail.entries)
        except OSError as error:
            raise EvidenceError(f"decision log {self.location}: {error}") from error
        for entry in entries:
            yield parse_object(entry, what="decision log: entry", error=MalformedBundle)

    def verify(self, pinned: Checkpoint | None = None) -> Checkpoint:
        """Verify every event against the signed and the pinned root.

        Returns:
            The current checkpoint, to be pinned.

        Raises:
            EvidenceError: The log cannot be read.
            VerificationError: It was changed.
        """
        try:
            return self._log.verify(pinned)
        except OSError as error:
            raise EvidenceError(f"decision log {self.location}: {error}") from error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                full = lambda: self._flushing or len(self._waiting) >= _MOST_BATCH  # noqa: E731
                self._changed.wait_for(full, self._delay)
                batch, self._waiting = self._waiting[:_MOST_BATCH], self._waiting[_MOST_BATCH:]
                self._writing = len(batch)
            self._write(batch)
            with self._changed:
                self._writing = 0
                self._changed.notify_all()

    def _write(self, batch: list[bytes]) -> None:
        """Write a batch, however often it takes."""
        while not self._closed:
            try:
                size = self._log.written
                if size is None:
                    size = self._log.newest().size if self._log.exists() else 0
                if self._log.append(batch, size=size) is not None:
                    self._failure = None
                    return
            except (OSError, MLSecOpsError) as error:
                self._failure = error
                time.sleep(_RETRY)


def _entry(event: Mapping[str, Any]) -> bytes:
    try:
        entry = json.dumps(
            dict(event), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"decision: expected JSON values, got {error}") from error
    if len(entry) > _LONGEST_EVENT:
        raise UsageError(f"decision: expected at most {_LONGEST_EVENT} bytes, got {len(entry)}")
    return entry
