"""Guarded object store: every get, put and list of data through obstore is decided first.

obstore store + policy → GuardedStore → bytes, or AccessDenied
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlsecops._choices import checked, of_type
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.access.decision import AccessDecider, DecisionSink
from mlsecops.access.guarded_reads import READ, WRITE, DataAccess

__all__ = ["GuardedStore"]


@concise_repr("_store", "_access")
class GuardedStore:
    """An obstore store behind an access policy.

    Inside `training_run` each object that is read whole is a data set of the run, named by its
    path, with its digest; ranges are decided and audited, and have no digest of their own.

    Args:
        store: A store (`obstore.store.S3Store("lake")`).
        policy: Decides about `dataset:read` (also for listing) and `dataset:write`.
        prefix: Name of the store in resources (`"lake"`: `lake/payments/2026`), or "".
        subject: The subject; by default that of `acting_as`.
        audit: Log that receives each decision, and the digest of what a training run read.
        clock: Time of a decision, timezone-aware.

    Raises:
        UsageError: It is no store.
        MissingExtra: obstore is not installed.
    """

    @checked
    def __init__(
        self,
        store: Any,
        policy: AccessDecider,
        *,
        prefix: str = "",
        subject: str | None = None,
        audit: DecisionSink | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._obstore = require("obstore")
        self._store = of_type("store", store, "put", "an obstore store")
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._access = DataAccess(policy=policy, subject=subject, audit=audit, clock=clock)

    def get(self, path: str) -> bytes:
        """Bytes of an object.

        Raises:
            AccessDenied: The subject may not read it.
        """
        name = self._demand(READ, path)
        data = bytes(self._obstore.get(self._store, path).bytes())
        if self._access.run is not None:
            with self._access.recorded(name, [data]):
                pass
        return data

    def get_range(self, path: str, *, start: int, length: int) -> bytes:
        """A range of an object's bytes.

        Args:
            path: The object.
            start: First byte.
            length: Number of bytes.

        Raises:
            AccessDenied: The subject may not read it.
        """
        self._demand(READ, path)
        return bytes(self._obstore.get_range(self._store, path, start=start, length=length))

    def put(self, path: str, data: bytes) -> None:
        """Write an object.

        Raises:
            AccessDenied: The subject may not write it.
        """
        self._demand(WRITE, path)
        self._obstore.put(self._store, path, data)

    def delete(self, path: str) -> None:
        """Delete an object.

        Raises:
            AccessDenied: The subject may not write it.
        """
        self._demand(WRITE, path)
        self._obstore.delete(self._store, path)

    def list(self, prefix: str = "") -> list[str]:
        """Paths of the objects under a prefix.

        Raises:
            AccessDenied: The subject may not read the prefix.
        """
        self._access.demand(READ, f"{self._prefix}{prefix}".strip("/") or "/")
        found = self._obstore.list(self._store, prefix or None).collect()
        return [str(each["path"]) for each in found]

    def _demand(self, action: str, path: str) -> str:
        name = f"{self._prefix}{path}"
        self._access.demand(action, name)
        return name
