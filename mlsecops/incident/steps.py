"""Steps of an incident, their states and deadlines, as its events tell them.

events, oldest first → `steps_of` → Steps → `state_of`; opening and times of steps → Deadlines
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mlsecops._choices import number
from mlsecops._repr import concise_repr
from mlsecops.incident.guidance import DEFAULT_STEPS

__all__ = ["Deadline", "IncidentState", "Step", "StepState", "deadlines_of", "state_of", "step_of",
           "steps_of"]  # fmt: skip

StepState = Literal["pending", "waiting", "manual", "failed", "done"]
IncidentState = Literal["open", "contained", "waiting", "failed", "closed"]
Events = Sequence[Mapping[str, Any]]


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


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Time by which a step should be done, and when it was.

    Attributes:
        step: Name of the step.
        due: Time by which it should be done.
        done: Time at which it was done, or None.
        late: Whether it was done too late, or is not done and should be.
    """

    step: str
    due: datetime
    done: datetime | None
    late: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        done = None if self.done is None else self.done.isoformat()
        return {"step": self.step, "due": self.due.isoformat(), "done": done, "late": self.late}


def steps_of(events: Events) -> tuple[Step, ...]:
    """Steps in order, with their newest states."""
    names: tuple[str, ...] = DEFAULT_STEPS
    known: dict[str, Step] = {}
    for event in events:
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


def step_of(events: Events, name: str) -> Step:
    """One step with its newest state."""
    return next((step for step in steps_of(events) if step.name == name), Step(name=name))


def state_of(steps: Sequence[Step]) -> IncidentState:
    """State of an incident with such steps."""
    states = {step.name: step.state for step in steps}
    if states.get("close") == "done" or set(states.values()) == {"done"}:
        return "closed"
    if "failed" in states.values():
        return "failed"
    if "waiting" in states.values():
        return "waiting"
    return "contained" if states.get("isolate") == "done" else "open"


def deadlines_of(
    events: Events, hours: Mapping[str, float], *, now: datetime
) -> tuple[Deadline, ...]:
    """The deadlines of the steps that have one.

    Args:
        events: Events of the incident.
        hours: Step → hours after the opening, > 0.
        now: Current time, for steps that are not done.
    """
    opened = datetime.fromisoformat(events[0]["at"])
    done = {
        event["step"]: datetime.fromisoformat(event["at"])
        for event in events
        if event["type"] == "step" and event["state"] == "done"
    }
    found = []
    for step in (each.name for each in steps_of(events) if each.name in hours):
        after = number("hours", hours[step], "hours above 0", lambda each: each > 0)
        due = opened + timedelta(hours=after)
        late = done.get(step, now) > due
        found.append(Deadline(step=step, due=due, done=done.get(step), late=late))
    return tuple(found)
