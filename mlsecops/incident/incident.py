"""Incident: an alert or finding, and the signed log of its handling.

alert or finding → id → log under `incidents/<id>/` of the registry → steps, state, evidence. Every
attribute is read from that log. Its checkpoint stands in the registry's log after each event, so
that an older copy of it is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mlsecops._choices import checked
from mlsecops._files import private_folder
from mlsecops._repr import concise_repr
from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.errors import IncidentError, UsageError
from mlsecops.findings import Alert, Finding
from mlsecops.incident.evidence import Evidence
from mlsecops.incident.guidance import DEFAULT_STEPS
from mlsecops.provenance import Digest
from mlsecops.registry import Registry

__all__ = ["Incident", "Step", "StepState"]

_ANCHOR: Final = "incident.custody"
"""Event of the registry's log that holds a checkpoint of an incident's log."""
StepState = Literal["pending", "waiting", "manual", "failed", "done"]
IncidentState = Literal["open", "contained", "waiting", "failed", "closed"]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """State of one step of an incident.

    Attributes:
        name: Name of the step.
        state: `pending`, `waiting` (for approval), `manual` (for people), `failed` or `done`.
        note: What happened, or what to do.
        result: What the step found, as JSON values.

    Examples:
        >>> Step(name="isolate").to_dict()
        {'name': 'isolate', 'state': 'pending', 'note': '', 'result': None}
    """

    name: str
    state: StepState = "pending"
    note: str = ""
    result: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "note": self.note,
            "result": None if self.result is None else dict(self.result),
        }


@concise_repr("id", "folder")
class Incident:
    """An alert or finding and its handling; made by `Incident.open`.

    Args:
        identity: Id of the incident.
        registry: The registry that it belongs to.
        clock: Returns the time of events, timezone-aware.
    """

    def __init__(self, identity: str, *, registry: Registry, clock: Callable[[], datetime]) -> None:
        self.id = identity
        self.registry = registry
        self.folder = registry.location / "incidents" / identity
        self._clock = clock

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

        Args:
            subject: The alert or finding.
            registry: Registry of the model; its signer signs the incident's log and evidence.
            digest: Digest of the model, if the subject has none.
            snapshot: State of the monitor (`fn.monitor.snapshot()` or a mapping), which a new
                incident keeps as evidence.
            clock: Returns the time of events, timezone-aware.

        Raises:
            UsageError: The digest is malformed, or a new incident is opened without a signer.
            VerificationError: The incident's log was tampered with.
            IncidentError: The incident's folder cannot be made.
        """
        named = digest if digest is not None else getattr(subject, "digest", None)
        about = None if named is None else str(Digest.parse(str(named)))
        described = _describe(subject)
        incident = cls(_identity(subject, about), registry=registry, clock=clock)
        if registry.signer is not None:
            incident._begin(described, about, snapshot)
        incident.events()
        return incident

    @property
    def digest(self) -> Digest | None:
        """Digest of the affected model, or None."""
        text = self._opened()["digest"]
        return None if text is None else Digest.parse(text)

    @property
    def subject(self) -> dict[str, Any]:
        """The alert or finding, as plain values."""
        return dict(self._opened()["subject"])

    @property
    def snapshot(self) -> dict[str, Any] | None:
        """State of the monitor that was given when it was opened."""
        taken = self._opened()["snapshot"]
        return None if taken is None else dict(taken)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Steps in order, with their states."""
        names: tuple[str, ...] = DEFAULT_STEPS
        known: dict[str, Step] = {}
        for event in self.events():
            if event["type"] == "playbook":
                names = tuple(event["steps"])
            elif event["type"] == "step":
                known[event["step"]] = Step(
                    name=event["step"],
                    state=event["state"],
                    note=event["note"],
                    result=event["result"],
                )
        return tuple(known.get(name, Step(name=name)) for name in names)

    @property
    def state(self) -> IncidentState:
        """`open`, `contained`, `waiting`, `failed` or `closed`."""
        steps = {step.name: step.state for step in self.steps}
        if steps.get("close") == "done" or set(steps.values()) == {"done"}:
            return "closed"
        if "failed" in steps.values():
            return "failed"
        if "waiting" in steps.values():
            return "waiting"
        return "contained" if steps.get("isolate") == "done" else "open"

    @property
    def evidence(self) -> Evidence:
        """Its evidence; the file exists once the step `evidence` is done."""
        return Evidence(
            incident=self.id,
            path=self.folder / "evidence.tar",
            registry=self.registry,
            custody=self._log(),
        )

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
        if step.state != "manual" or not by or not note:
            raise IncidentError(
                f"incident {self.id}: expected a manual step, a person and a note, got step {name} "
                f"({step.state}), {by!r} and {note!r}"
            )
        self.mark(replace(step, state="done", note=f"{by}: {note}"))

    def mark(self, step: Step) -> None:
        """Record a step, if its state is new."""
        if self.step(step.name) == step:
            return
        plain = step.to_dict()
        self._write("step", step=plain.pop("name"), **plain)

    def adopt(self, names: tuple[str, ...]) -> None:
        """Record the playbook's steps, if they are new."""
        if tuple(step.name for step in self.steps) != names:
            self._write("playbook", steps=list(names))

    def events(self) -> tuple[dict[str, Any], ...]:
        """The verified chain of custody, oldest first."""
        return self._log().events()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        opened = self._opened()
        return {
            "id": self.id,
            "state": self.state,
            "opened": opened["at"],
            "digest": opened["digest"],
            "subject": opened["subject"],
            "steps": [step.to_dict() for step in self.steps],
        }

    def _opened(self) -> dict[str, Any]:
        return self.events()[0]

    def _begin(self, subject: dict[str, Any], digest: str | None, snapshot: object) -> None:
        try:
            private_folder(self.folder, shared=True)
        except OSError as error:
            raise IncidentError(
                f"incident {self.id}: cannot make {self.folder}: {error.strerror}; give write "
                "permission for the registry's folder"
            ) from error
        taken = plain(snapshot.to_dict() if hasattr(snapshot, "to_dict") else snapshot)
        if taken is not None and not isinstance(taken, dict):
            raise UsageError(
                f"snapshot: expected a mapping or to_dict(), got {type(snapshot).__name__}"
            )
        event = {
            "type": "opened",
            "at": self._clock().isoformat(),
            "subject": subject,
            "digest": digest,
            "snapshot": taken,
        }
        self._log().try_append(event, size=0)
        self.registry.record_once(
            "incident.opened", {"incident": self.id, "digest": digest, "rule": subject["rule"]}
        )

        self._anchor()

    def _write(self, kind: str, **detail: object) -> None:
        self._log().append({"type": kind, "at": self._clock().isoformat(), **detail})
        self._anchor()

    def _log(self) -> AuditLog:
        """Its log, which must extend the newest checkpoint in the registry's log."""
        anchors = self._anchors()
        return AuditLog(
            self.folder / "custody.sqlite",
            signer=self.registry.signer,
            keys=self.registry.log_keys,
            origin=f"mlsecops-incident/{self.id}",
            pinned=max(anchors, key=lambda each: each.size) if anchors else None,
        )

    def _anchors(self) -> list[Checkpoint]:
        """Checkpoints of its log that the registry's log records."""
        return [
            Checkpoint.parse(str(event.detail["checkpoint"]))
            for event in self.registry.recorded(_ANCHOR)
            if event.detail.get("incident") == self.id
        ]

    def _anchor(self) -> None:
        """Record the checkpoint of its log, unless the registry's log has it or a newer one."""
        head = self._log().checkpoint()
        if all(head.size > known.size for known in self._anchors()):
            self.registry.record_once(_ANCHOR, {"incident": self.id, "checkpoint": str(head)})


def plain(value: object) -> Any:
    """Convert to JSON values; numbers that are not finite and unknown types become text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def _describe(subject: Alert | Finding) -> dict[str, Any]:
    described: dict[str, Any] = plain(subject.to_dict())
    if isinstance(subject, Finding):
        described["artifact"] = subject.artifact
    return described


def _identity(subject: Alert | Finding, digest: str | None) -> str:
    """Id that depends on the alert's rule, digest, client and time, or on the finding alone."""
    if isinstance(subject, Alert):
        at = subject.at.astimezone(UTC).isoformat()
        parts = ["alert", subject.rule, subject.monitor, digest, subject.client, at]
    else:
        parts = ["finding", subject.rule, subject.artifact, subject.where, digest]
    return f"inc-{Digest.of(json.dumps(parts).encode()).hex[:20]}"
