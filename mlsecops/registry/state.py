"""Registry state: versions, serving version, quarantine and floors, from the events of the log.

verified events, in order → State → answers for the registry; nothing else on disk counts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import Isolated, RegistryError, RollbackRefused
from mlsecops.provenance import Digest
from mlsecops.registry.events import Event, Record, Version, VersionState, require_name

__all__ = ["SUMMARY_FORM", "State"]

SUMMARY_FORM: Final = 2  # of `State.summary`; a program skips a form that it does not know


@dataclass(slots=True)
class State:
    """The registry after the first `size` events of its log.

    Attributes:
        size: Number of events.
        recent: The events that were read, the last ones.
        past: Reads the events before those, where there are any.
        summarised: Number of events up to the last summary.
        records: Versions by the model's name, in order.
        holders: Name and version of the first that has a digest.
        approved: Name and version of each that was approved.
        serving: Version that serves, by name.
        quarantined: Reason, by digest.
        floors: Lowest version that may be used, by name.
        retired: Event in which another key took over, by the fingerprint of the log's key before.
    """

    size: int = 0
    recent: list[Event] = field(default_factory=list)
    past: Callable[[], Sequence[Event]] | None = None
    summarised: int = 0
    records: dict[str, list[Record]] = field(default_factory=dict)
    holders: dict[str, tuple[str, int]] = field(default_factory=dict)
    approved: set[tuple[str, int]] = field(default_factory=set)
    serving: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    floors: dict[str, int] = field(default_factory=dict)
    retired: dict[str, Event] = field(default_factory=dict)

    @property
    def history(self) -> list[Event]:
        """All events; those before a summary are read when they are first asked for.

        Raises:
            RegistryError: They cannot be read.
            DigestMismatch: They are not those of the log.
        """
        return [*(self.past() if self.past is not None else ()), *self.recent]

    def after(self, events: Iterable[Mapping[str, Any]]) -> State:
        """The state after further verified events; this one is unchanged.

        Raises:
            RegistryError: An event contradicts those before it, or is of an unknown kind.
        """
        grown = State(
            size=self.size,
            recent=[*self.recent],
            past=self.past,
            summarised=self.summarised,
            records={name: [*records] for name, records in self.records.items()},
            holders={**self.holders},
            approved={*self.approved},
            serving={**self.serving},
            quarantined={**self.quarantined},
            floors={**self.floors},
            retired={**self.retired},
        )
        for raw in events:
            grown._take(Event.read(grown.size, raw))
        return grown

    def replayed(self, history: Iterable[Event]) -> State:
        """This state after events that were read before, which may contradict each other.

        Raises:
            RegistryError: They do.
        """
        for event in history:
            self._take(event)
        return self

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
        holder = self.holders.get(str(digest))
        return None if holder is None else self.record(*holder)

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
        self.recent.append(event)
        self.size += 1

    def _apply(self, event: Event) -> None:
        if event.kind == "published":
            self._publish(event)
        elif event.kind in {"approved", "serving", "rolled-back"}:
            self._move(event)
        elif event.kind == "signed-again":
            known = self.record(str(event.name), int(event.version or 0))
            renewed = replace(
                known, listing=Digest.parse(event.detail["listing"]), size=_size(event)
            )
            self.records[known.name][known.version - 1] = renewed
        elif event.kind in {"quarantined", "quarantine-extended"}:
            for text in (event.digest, *event.detail.get("also", ())):
                digest = Digest.parse(str(text))
                self.quarantined.setdefault(str(digest), str(event.detail["reason"]))
        elif event.kind == "floor-raised":
            record = self.record(str(event.name), int(event.version or 0))
            self.floors[record.name] = max(record.version, self.floors.get(record.name, 1))
        elif event.kind == "summarised":
            self._require_summary(event)
        elif event.kind == "key-rotated":
            self.retired[str(event.detail["retired"])] = event
            self.retired.pop(str(event.detail["key"]), None)
        elif event.kind != "created" and not event.kind.startswith("incident."):
            raise RegistryError(  # an event of a newer program may restrict usage
                f"registry log, entry {event.index}: unknown kind {event.kind!r}; update mlsecops"
            )

    def _require_summary(self, event: Event) -> None:
        """Demand that a summary says what the events before it add up to."""
        own = Digest.of(self.summary())
        if event.detail.get("form") == SUMMARY_FORM and event.detail["summary"] != str(own):
            raise RegistryError(
                f"registry log, entry {event.index}: expected the summary {own.short}, got "
                f"{str(event.detail['summary'])[:19]}: who has the log's key wrote a wrong one; "
                "restore the log"
            )
        self.summarised = event.index + 1

    def summary(self) -> bytes:
        """Everything but the events, as canonical JSON."""
        records = {
            name: [[str(each.digest), str(each.listing), each.size] for each in known]
            for name, known in self.records.items()
        }
        value = {
            "size": self.size,
            "records": records,
            "approved": sorted(self.approved),
            "serving": self.serving,
            "quarantined": self.quarantined,
            "floors": self.floors,
            "retired": {key: event.to_dict() for key, event in self.retired.items()},
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_summary(cls, data: bytes, *, past: Callable[[], Sequence[Event]]) -> State:
        """The state that a summary says; its digest stands in a verified event.

        Args:
            data: The summary.
            past: Reads the events that it covers.

        Raises:
            RegistryError: It is malformed.
        """
        value = parse_object(data, what="summary of a registry", error=RegistryError)
        try:
            state = cls(
                size=value["size"],
                past=past,
                records={
                    name: [
                        Record(
                            name=name,
                            version=number,
                            digest=Digest.parse(digest),
                            listing=Digest.parse(listing),
                            size=size,
                        )
                        for number, (digest, listing, size) in enumerate(known, start=1)
                    ]
                    for name, known in value["records"].items()
                },
                approved={(name, version) for name, version in value["approved"]},
                serving=value["serving"],
                quarantined=value["quarantined"],
                floors=value["floors"],
                retired={
                    key: Event.read(
                        event["index"], {name: event[name] for name in event if name != "index"}
                    )
                    for key, event in value["retired"].items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryError(f"summary of a registry: malformed: {error!r}") from error
        for record in (each for known in state.records.values() for each in known):
            state.holders.setdefault(str(record.digest), (record.name, record.version))
        return state

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
                size=_size(event),
            )
        )
        self.holders.setdefault(str(records[-1].digest), (name, event.version))

    def _move(self, event: Event) -> None:
        record = self.record(str(event.name), int(event.version or 0))
        if event.kind == "approved":
            self.approved.add((record.name, record.version))
            return
        self.serving[record.name] = record.version
        if event.kind == "serving":
            self.approved.add((record.name, record.version))


def _size(event: Event) -> int | None:
    size = event.detail.get("bytes")
    return size if size is None else int(size)
