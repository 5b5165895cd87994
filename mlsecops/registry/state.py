"""Registry state: versions, serving version, quarantine and floors, from the events of the log.

verified events, in order → State → answers for the registry; nothing else on disk counts
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from mlsecops._repr import concise_repr
from mlsecops.errors import Isolated, RegistryError, RollbackRefused, UsageError
from mlsecops.provenance import Digest

__all__ = ["Event", "Record", "State", "Version", "require_name"]

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
            algorithms), `floor-raised`, `key-rotated` or `incident.…`.
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
    """

    name: str
    version: int
    digest: Digest
    listing: Digest

    def event(self, kind: str) -> dict[str, Any]:
        """An event about this version."""
        named = {"name": self.name, "version": self.version, "digest": str(self.digest)}
        return {"type": kind, **named}


@dataclass(slots=True)
class State:
    """The registry after the first `size` events of its log.

    Attributes:
        size: Number of events.
        history: The events.
        records: Versions by the model's name, in order.
        approved: Name and version of each that was approved.
        serving: Version that serves, by name.
        quarantined: Reason, by digest.
        floors: Lowest version that may be used, by name.
        retired: Event in which another key took over, by the fingerprint of the log's key before.
    """

    size: int = 0
    history: list[Event] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    approved: set[tuple[str, int]] = field(default_factory=set)
    serving: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    retired: dict[str, Event] = field(default_factory=dict)

    def after(self, events: Iterable[Mapping[str, Any]]) -> State:
        """The state after further verified events; this one is unchanged.

        Raises:
            RegistryError: An event contradicts those before it, or is of an unknown kind.
        """
        grown = State(
            size=self.size,
            history=[*self.history],
            records={name: [*records] for name, records in self.records.items()},
            approved={*self.approved},
            serving={**self.serving},
            quarantined={**self.quarantined},
            floors={**self.floors},
            retired={**self.retired},
        )
        for raw in events:
            grown._take(Event.read(grown.size, raw))
        return grown

    def record(self, name: str, version: int) -> Record:
        """A published version.

        Raises:
            RegistryError: There is no such model or version.
        """
        records = self.records.get(name, [])
        if not 1 <= version <= len(records):
            raise RegistryError(
                f"model {name!r} has no version {version}: expected 1 to {len(records)}"
                if records
                else f"model {name!r} is not in this registry; publish it first"
            )
        return records[version - 1]

    def holding(self, digest: Digest) -> Record | None:
        """A version with this root digest, or None."""
        records = (record for records in self.records.values() for record in records)
        return next((record for record in records if record.digest == digest), None)

    def named(self, name: str) -> Record:
        """The version that serves, or the newest when none does."""
        return self.record(name, self.serving.get(name) or len(self.records.get(name, ())) or 1)

    def require_usable(self, record: Record) -> None:
        """Demand that a version is neither quarantined nor below its model's floor.

        Raises:
            Isolated: Its digest is quarantined.
            RollbackRefused: It is below the floor.
        """
        where = f"{record.name} version {record.version} ({record.digest.short})"
        reason = self.quarantined.get(str(record.digest))
        if reason is not None:
            raise Isolated(f"{where} is quarantined: {reason}; use or publish another version")
        floor = self.floors.get(record.name, 1)
        if record.version < floor:
            raise RollbackRefused(f"{where}: expected at least version {floor}, the model's floor")

    def view(self, record: Record, *, path: Path | None = None) -> Version:
        """A version with its current state."""
        key = (record.name, record.version)
        state: VersionState = "approved" if key in self.approved else "published"
        if self.serving.get(record.name) == record.version:
            state = "serving"
        if str(record.digest) in self.quarantined:
            state = "quarantined"
        return Version(
            name=record.name,
            version=record.version,
            digest=record.digest,
            state=state,
            path=path,
        )

    def _take(self, event: Event) -> None:
        try:
            self._apply(event)
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(
                f"registry log, entry {event.index} ({event.kind}): malformed: {error!r}"
            ) from error
        self.history.append(event)
        self.size += 1

    def _apply(self, event: Event) -> None:
        if event.kind == "published":
            self._publish(event)
        elif event.kind in {"approved", "serving", "rolled-back"}:
            self._move(event)
        elif event.kind == "signed-again":
            known = self.record(str(event.name), int(event.version or 0))
            listing = Digest.parse(event.detail["listing"])
            self.records[known.name][known.version - 1] = replace(known, listing=listing)
        elif event.kind in {"quarantined", "quarantine-extended"}:
            for text in (event.digest, *event.detail.get("also", ())):
                digest = Digest.parse(str(text))
                self.quarantined.setdefault(str(digest), str(event.detail["reason"]))
        elif event.kind == "floor-raised":
            record = self.record(str(event.name), int(event.version or 0))
            self.floors[record.name] = max(record.version, self.floors.get(record.name, 1))
        elif event.kind == "key-rotated":
            self.retired[str(event.detail["retired"])] = event
            self.retired.pop(str(event.detail["key"]), None)
        elif event.kind != "created" and not event.kind.startswith("incident."):
            raise RegistryError(  # an event of a newer program may restrict usage
                f"registry log, entry {event.index}: unknown kind {event.kind!r}; update mlsecops"
            )

    def _publish(self, event: Event) -> None:
        name = require_name(str(event.name))
        records = self.records.setdefault(name, [])
        if event.version != len(records) + 1:
            raise RegistryError(
                f"registry log, entry {event.index}: expected {name} version {len(records) + 1}, "
                f"got {event.version}"
            )
        records.append(
            Record(
                name=name,
                version=event.version,
                digest=Digest.parse(str(event.digest)),
                listing=Digest.parse(event.detail["listing"]),
            )
        )

    def _move(self, event: Event) -> None:
        record = self.record(str(event.name), int(event.version or 0))
        if event.kind == "approved":
            self.approved.add((record.name, record.version))
            return
        self.serving[record.name] = record.version
        if event.kind == "serving":
            self.approved.add((record.name, record.version))


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
