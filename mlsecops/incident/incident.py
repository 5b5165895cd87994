"""Incident: an alert, finding or report, and the signed log of its handling.

alert, finding or report → id → events in the registry's log (`custody`) → steps, state, evidence,
deadlines. Every attribute is read from that log, at any location of the registry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.errors import EvidenceError, IncidentError, UsageError, VerificationError
from mlsecops.findings import Alert, Finding, Severity
from mlsecops.incident.custody import Custody, local_folder
from mlsecops.incident.evidence import Evidence
from mlsecops.incident.guidance import DEADLINES, Kind, kind_of
from mlsecops.incident.steps import (
    Deadline,
    IncidentState,
    Step,
    deadlines_of,
    state_of,
    step_of,
    steps_of,
)
from mlsecops.incident.subject import (
    IncidentReport,
    Subject,
    describe,
    identity,
    occurrence,
    plain,
)
from mlsecops.provenance import Digest
from mlsecops.registry import Registry

__all__ = ["Incident"]

_MOST_ALERTS: Final = 100  # alerts that one incident records; chosen: more say nothing new


@concise_repr("id", "folder")
class Incident:
    """An alert, finding or report and its handling; made by `Incident.open` or `Incident.report`.

    Args:
        identity: Id of the incident.
        registry: The registry that it belongs to.
        clock: Returns the time of events, timezone-aware.
    """

    def __init__(self, identity: str, *, registry: Registry, clock: Callable[[], datetime]) -> None:
        self.id = identity
        self.registry = registry
        self.folder: Path = local_folder(registry, identity)
        self._clock = clock
        self._custody = Custody(identity, registry)
        self._first: dict[str, Any] | None = None

    @classmethod
    @checked
    def open(
        cls,
        subject: Alert | Finding,
        *,
        registry: Registry,
        digest: Digest | str | None = None,
        snapshot: object = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Incident:
        """Open the incident of an alert or finding, a new one or the existing one.

        The same rule, digest and client have the same incident while it is open, which records
        each further alert; an alert after it was closed opens another.

        Args:
            subject: The alert or finding.
            registry: Registry of the model; its signer signs the incident's events and evidence.
            digest: Digest of the model, if the subject has none.
            snapshot: State of the monitor (`fn.monitor.snapshot()` or a mapping), which a new
                incident keeps as evidence.
            clock: Returns the time of events, timezone-aware.

        Raises:
            UsageError: The digest is malformed, or a new incident is opened without a signer.
            VerificationError: The registry's log or an event was tampered with.
            IncidentError: The incident's folder cannot be made.
        """
        named = digest if digest is not None else getattr(subject, "digest", None)
        about = _digest(named)
        return cls._opened_for(subject, about, registry=registry, snapshot=snapshot, clock=clock)

    @classmethod
    @checked
    def report(
        cls,
        kind: Kind,
        *,
        digest: Digest | str | None = None,
        message: str,
        registry: Registry,
        client: str | None = None,
        severity: Severity = Severity.HIGH,
        snapshot: object = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Incident:
        """Open the incident that a person or another system reports, without an alert.

        Args:
            kind: Kind of incident.
            digest: Digest of the model, data set or file; for `leaked-key` the fingerprint of the
                key as `"sha256:<hex>"`.
            message: What happened, in a sentence.
            registry: As for `open`.
            client: Client concerned, if one is.
            severity: Severity.
            snapshot: As for `open`.
            clock: As for `open`.

        Raises:
            UsageError: The kind or the digest is malformed, the message is empty, or a new
                incident is opened without a signer.
            VerificationError: The registry's log or an event was tampered with.
        """
        if not message.strip():
            raise UsageError("message: expected what happened, in a sentence, got none")
        about = _digest(digest)
        subject = IncidentReport(
            kind=kind, digest=about, client=client, message=message, severity=severity
        )
        return cls._opened_for(subject, about, registry=registry, snapshot=snapshot, clock=clock)

    @property
    def digest(self) -> Digest | None:
        """Digest of the affected model or file, or fingerprint of the leaked key, or None."""
        text = self._opened()["digest"]
        return None if text is None else Digest.parse(text)

    @property
    def kind(self) -> Kind | None:
        """Kind of incident, or None where neither its technique nor its rule tells."""
        return kind_of(self.subject)

    @property
    def subject(self) -> dict[str, Any]:
        """The alert, finding or report that opened it, as plain values."""
        return dict(self._opened()["subject"])

    @property
    def alerts(self) -> tuple[dict[str, Any], ...]:
        """Further alerts of the same rule, digest and client, oldest first; at most 100."""
        return tuple(event["subject"] for event in self.events() if event["type"] == "alert")

    @property
    def snapshot(self) -> dict[str, Any] | None:
        """State of the monitor that was given when it was opened."""
        taken = self._opened()["snapshot"]
        return None if taken is None else dict(taken)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Steps in order, with their states."""
        return steps_of(self.events())

    @property
    def state(self) -> IncidentState:
        """`open`, `contained`, `waiting`, `failed` or `closed`."""
        return state_of(self.steps)

    @property
    def evidence(self) -> Evidence:
        """Its evidence; the file exists once the step `forensics` is done."""
        return Evidence(
            incident=self.id,
            path=self.folder / "evidence.tar",
            registry=self.registry,
            custody=self._custody,
        )

    @checked
    def deadlines(self, *, hours: Mapping[str, float] | None = None) -> tuple[Deadline, ...]:
        """When each step should be done, and whether it was in time.

        Args:
            hours: Step → hours after the opening, > 0, in place of the built-in ones.

        Raises:
            UsageError: A number is out of its range.
        """
        return deadlines_of(self.events(), {**DEADLINES, **(hours or {})}, now=self._clock())

    def step(self, name: str) -> Step:
        """One step with its state.

        Raises:
            IncidentError: It has no such step.
        """
        steps = {step.name: step for step in self.steps}
        if name not in steps:
            raise IncidentError(
                f"incident {self.id}: expected a step of {', '.join(steps)}, got {name!r}"
            )
        return steps[name]

    @checked
    def complete(self, name: str, *, by: str, note: str) -> None:
        """Record that a person has done a manual step.

        Args:
            name: Name of the step.
            by: The person.
            note: What was done, in a sentence.

        Raises:
            IncidentError: The step is not manual, or `by` or `note` is empty.
        """
        step = self.step(name)
        if step.state != "manual" or not by.strip() or not note.strip():
            raise IncidentError(
                f"incident {self.id}: expected a manual step, a person and a note, got step {name} "
                f"({step.state}), {by!r} and {note!r}"
            )
        self.mark(replace(step, state="done", note=f"{by}: {note}"))
        self.copy_custody()

    def mark(self, step: Step) -> None:
        """Record a step, if its state is new."""
        described = plain(step.to_dict())
        event = {**described, "type": "step", "step": described["name"]}
        del event["name"]
        self._write(event, unless=lambda events: step_of(events, step.name).to_dict() == described)

    def adopt(self, names: tuple[str, ...]) -> None:
        """Record the playbook's steps, if they are new."""
        self._write(
            {"type": "playbook", "steps": list(names)},
            unless=lambda events: tuple(step.name for step in steps_of(events)) == names,
        )

    def copy_custody(self) -> None:
        """Bring the copy of the chain of custody in the incident's folder up to date."""
        with contextlib.suppress(VerificationError, EvidenceError):
            # A copy that was tampered with hinders no response; `evidence.verify` tells.
            self._custody.copy()

    def events(self) -> tuple[dict[str, Any], ...]:
        """The verified chain of custody, oldest first.

        Raises:
            IncidentError: The registry has no such incident.
            VerificationError: The registry's log or an event was tampered with.
        """
        events = self._custody.events()
        if not events:
            raise IncidentError(f"incident {self.id}: the registry has no such incident")
        return events

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        events = self.events()
        opened = events[0]
        return {
            "id": self.id,
            "kind": kind_of(opened["subject"]),
            "state": state_of(steps_of(events)),
            "opened": opened["at"],
            "digest": opened["digest"],
            "subject": opened["subject"],
            "alerts": sum(event["type"] == "alert" for event in events),
            "steps": [step.to_dict() for step in steps_of(events)],
            "deadlines": [deadline.to_dict() for deadline in self.deadlines()],
        }

    @classmethod
    def _opened_for(
        cls,
        subject: Subject,
        digest: str | None,
        *,
        registry: Registry,
        snapshot: object,
        clock: Callable[[], datetime],
    ) -> Incident:
        """The incident that a subject belongs to: the last of its id, or its successor."""
        closed = 0
        while True:
            incident = cls(identity(subject, digest, closed), registry=registry, clock=clock)
            events = incident._custody.events()
            if not events or not incident._is_over(events, subject):
                break
            closed += 1
        if registry.signer is not None:
            incident._begin(subject, digest, snapshot)
        incident.events()
        return incident

    def _is_over(self, events: tuple[dict[str, Any], ...], subject: Subject) -> bool:
        """Whether it was closed before the subject, which opens the next."""
        resolved = isinstance(subject, Alert) and subject.state == "resolved"
        known = {event.get("occurrence") for event in events}
        return (
            state_of(steps_of(events)) == "closed"
            and not resolved
            and occurrence(subject) not in known
        )

    def _opened(self) -> dict[str, Any]:
        """The opening, which never changes."""
        if self._first is None:
            self._first = self.events()[0]
        return self._first

    def _begin(self, subject: Subject, digest: str | None, snapshot: object) -> None:
        """Record the opening, or the further alert."""
        taken = plain(snapshot.to_dict() if hasattr(snapshot, "to_dict") else snapshot)
        if taken is not None and not isinstance(taken, dict):
            raise UsageError(
                f"snapshot: expected a mapping or to_dict(), got {type(snapshot).__name__}"
            )
        described, when = describe(subject), occurrence(subject)
        opened = {
            "type": "opened", "subject": described, "digest": digest, "snapshot": taken,
            "occurrence": when,
        }  # fmt: skip
        if not self._custody.events():
            self._write(opened, unless=bool, digest=digest, rule=described["rule"])

        def recorded(events: tuple[dict[str, Any], ...]) -> bool:
            heard = [event["occurrence"] for event in events if "occurrence" in event]
            return when in heard or len(heard) > _MOST_ALERTS

        self._write({"type": "alert", "subject": described, "occurrence": when}, unless=recorded)
        self.copy_custody()

    def _write(
        self,
        event: Mapping[str, Any],
        *,
        unless: Callable[[tuple[dict[str, Any], ...]], bool],
        **named: str | None,
    ) -> None:
        """Add an event after those that are there, unless they make it needless."""
        while not unless(events := self._custody.events()):
            stamped = {**event, "at": self._clock().isoformat()}
            if self._custody.add(stamped, number=len(events), **named):
                break


def _digest(given: Digest | str | None) -> str | None:
    try:
        return None if given is None else str(Digest.parse(str(given)))
    except UsageError as error:
        raise UsageError(f"digest: expected 'sha256:<hex>', got {str(given)[:80]!r}") from error
