"""Guarded fsspec file system: every read and write of data is decided first.

fsspec file system + policy → file system that pandas, Dask, PyArrow and others take → bytes, or
AccessDenied

Paths are resources as the file system spells them without the protocol (`bucket/key`). What the
guarded file system does not implement (signed URLs among it) is not handed on to the one below.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlsecops._choices import checked, of_type
from mlsecops._extras import require
from mlsecops.access.decision import AccessDecider, DecisionSink
from mlsecops.access.guarded_reads import DataAccess

__all__ = ["guard_filesystem"]


@checked
def guard_filesystem(
    filesystem: Any,
    policy: AccessDecider,
    *,
    subject: str | None = None,
    audit: DecisionSink | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Any:
    """Guard an fsspec file system with an access policy.

    Args:
        filesystem: A file system (`fsspec.filesystem("s3")`).
        policy: Decides about `dataset:read` (also for listing) and `dataset:write`.
        subject: The subject; by default that of `acting_as`.
        audit: Log that receives each decision, and the digest of what a training run read.
        clock: Time of a decision, timezone-aware.

    Returns:
        An `fsspec.AbstractFileSystem`. Inside `training_run` each file that is read is a data set
        of the run, named by its path, with its digest.

    Raises:
        UsageError: It is no file system.
        MissingExtra: fsspec is not installed.

    Examples:
        >>> import fsspec
        >>> from mlsecops.access import AccessPolicy, Rule
        >>> policy = AccessPolicy([Rule(subject="ann", action="dataset:read", resource="lake/**")])
        >>> lake = guard_filesystem(fsspec.filesystem("memory"), policy, subject="ann")
        >>> lake.cat("salaries/2026")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mlsecops.errors.AccessDenied: ann may not dataset:read salaries/2026: no rule allows it; ...
    """
    of_type("filesystem", filesystem, "_open", "an fsspec file system")
    access = DataAccess(policy=policy, subject=subject, audit=audit, clock=clock)
    require("fsspec")
    from mlsecops.access.guarded_filesystem import GuardedFileSystem  # noqa: PLC0415 - an extra

    return GuardedFileSystem(filesystem, access)
