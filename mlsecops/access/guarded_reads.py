"""Guarded reads and writes of data: each decided, audited and recorded with its digest.

path → decision (`AccessDecider`) → audit event → bytes → manifest of the current training run

In a training run what is read is first copied to a private temporary file and hashed there, so that
the recorded digest is that of the bytes that were read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.access.decision import AccessDecider, DecisionSink, require_allowed
from mlsecops.access.enforcement import current_subject
from mlsecops.errors import AccessDenied
from mlsecops.provenance import Digest, Manifest, hash_path
from mlsecops.provenance.lineage import TrainingRun, current_run

__all__ = ["DataAccess"]

READ: Final = "dataset:read"
WRITE: Final = "dataset:write"


@concise_repr("policy", "subject")
@dataclass(frozen=True, slots=True, kw_only=True)
class DataAccess:
    """What a guarded file system or store asks before it reads or writes.

    Attributes:
        policy: Policy that decides about `dataset:read` and `dataset:write`.
        subject: The subject; by default that of `acting_as`.
        audit: Log that receives each decision, and the digest of what was read in a run.
        clock: Time of a decision, timezone-aware.
    """

    policy: AccessDecider
    subject: str | None = None
    audit: DecisionSink | None = None
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def demand(self, action: str, path: str) -> None:
        """Demand that the subject may do this with a path.

        Raises:
            AccessDenied: It may not, or the decision cannot be recorded.
        """
        who, now = self.subject or current_subject(), self.clock()
        decision = self.policy.decide(who, action, path, at=now)
        self._record({"type": "access", "at": now.isoformat(), **decision.to_dict()}, action)
        require_allowed(decision)

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
            copy = Path(place) / (path.rsplit("/", 1)[-1] or "data")
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
        self._record({**event, "digest": str(digest), "bytes": data.size}, READ)

    def _record(self, event: dict[str, object], action: str) -> None:
        if self.audit is None:
            return
        try:
            self.audit.append(event)
        except Exception as error:
            raise AccessDenied(
                f"{action}: denied, because it cannot be recorded ({type(error).__name__}: {error})"
            ) from error
