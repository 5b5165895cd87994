"""Events and versions of a registry, as its log records them.

entry of the log → Event; published event → Record; Record and State → Version
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mlsecops._repr import concise_repr
from mlsecops.errors import RegistryError, UsageError
from mlsecops.provenance import Digest

__all__ = ["Event", "Record", "Version", "VersionState", "require_name"]

VersionState = Literal["published", "approved", "serving", "quarantined"]

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a registry's history.

    Attributes:
        index: Place in the log, from 0.
        at: Time of the writer's clock, ISO 8601 in UTC.
        kind: `created`, `published`, `signed-again`, `approved`, `serving`, `rolled-back`,
            `quarantined`, `quarantine-extended` (to the same files' digests under other
            algorithms), `floor-raised`, `key-rotated`, `summarised` or `incident.…`.
        name: Model, or None.
        version: Version, or None.
        digest: `"sha256:<hex>"`, or None.
        detail: All other recorded values (`reason`, `previous`, …).
    """

    index: int
    at: str
    kind: str
    name: str | None
    version: int | None
    digest: str | None
    detail: Mapping[str, Any]

    @classmethod
    def read(cls, index: int, raw: Mapping[str, Any]) -> Event:
        """Read an event of the log.

        Raises:
            RegistryError: It lacks its kind or time.
        """
        rest = dict(raw)
        kind, at = rest.pop("type", None), rest.pop("at", None)
        if not isinstance(kind, str) or not isinstance(at, str):
            raise RegistryError(f"registry log, entry {index}: it has no type or no time")
        return cls(
            index=index,
            at=at,
            kind=kind,
            name=rest.pop("name", None),
            version=rest.pop("version", None),
            digest=rest.pop("digest", None),
            detail=rest,
        )

    def says(self, raw: Mapping[str, Any]) -> bool:
        """Whether it records the same as another event, index and time left out."""
        own = self.to_dict()
        return {key: own[key] for key in own if key not in {"index", "at"}} == raw

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        named = {"name": self.name, "version": self.version, "digest": self.digest}
        return {
            "index": self.index,
            "at": self.at,
            "type": self.kind,
            **{key: value for key, value in named.items() if value is not None},
            **self.detail,
        }


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a model.

    Attributes:
        name: The model's name.
        version: 1, 2, 3…
        digest: Root digest of the signed model.
        state: `published`, `approved`, `serving` or `quarantined`.
        path: A read-only folder whose bytes verified, from `Registry.resolve`; otherwise None.
    """

    name: str
    version: int
    digest: Digest
    state: VersionState
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": str(self.digest),
            "state": self.state,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A published version.

    Attributes:
        name: The model's name.
        version: Its number.
        digest: Root digest of the signed model.
        listing: Digest of the blob that lists its files.
        size: Bytes of its files; None in a log of an earlier release.
    """

    name: str
    version: int
    digest: Digest
    listing: Digest
    size: int | None = None

    def event(self, kind: str) -> dict[str, Any]:
        """An event about this version."""
        named = {"name": self.name, "version": self.version, "digest": str(self.digest)}
        return {"type": kind, **named}


def require_name(name: str) -> str:
    """Check a model's name.

    Raises:
        UsageError: It is no lower-case DNS label.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise UsageError(
            f"model name {str(name)[:80]!r}: expected 1 to 63 characters of a-z, 0-9 and '-', "
            "beginning and ending with a letter or digit"
        )
    return name
