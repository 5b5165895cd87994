"""Which steps an incident goes through, and how they are run."""

from __future__ import annotations

import fcntl
import html
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from mlsecops.errors import IncidentError, MLSecOpsError, UsageError
from mlsecops.incident import cacao
from mlsecops.incident.actions import (
    ACTIONS,
    Remediation,
    Validation,
    affected,
    remediate,
    validate,
)
from mlsecops.incident.guidance import KINDS, Kind, instructions, kind_of, title_of
from mlsecops.incident.incident import DEFAULT_STEPS, Incident, Step
from mlsecops.incident.plan import Approval, PlaybookStep

__all__ = ["Playbook", "PlaybookStep"]

Approve = Callable[[PlaybookStep], bool]

_APPROVALS: Final[dict[str, Approval]] = {
    "rollback": "automatic",
    "remediate": "automatic",
    "close": "required",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """Steps in order, and what is called for those that only the user can do.

    Attributes:
        title: Name of the playbook.
        kind: Kind of incident its instructions are for, or None for any.
        steps: What is done, in order.
        remediate: Called with the incident to remove the cause; raising or False is a failure. It
            is called again when a run was killed before its end was recorded.
        validate: Called with the incident and the version that serves (None if the registry has
            none); raising, False, text or a `verdict` other than `"pass"` is a failure.
    """

    title: str
    kind: Kind | None = None
    steps: tuple[PlaybookStep, ...]
    remediate: Remediation | None = None
    validate: Validation | None = None

    @classmethod
    def default(
        cls,
        kind: Kind | None = None,
        *,
        remediate: Remediation | None = None,
        validate: Validation | None = None,
        approvals: dict[str, Approval] | None = None,
    ) -> Playbook:
        """The seven steps: isolate, evidence, assess, rollback, remediate, validate, close.

        Args:
            kind: `poisoning`, `extraction`, `adversarial` or `prompt-injection`; by default
                `run` chooses by the incident's ATLAS technique or rule.
            remediate: Removes the cause; without it that step is for people.
            validate: Judges the version that serves; without it that step is for people.
            approvals: Step name to `none`, `automatic` (asks when `run` has somebody to ask,
                and goes ahead when not) or `required`. By default rollback and remediate are
                automatic, and close is required.

        Raises:
            UsageError: The kind, a step or an approval is unknown.
        """
        asked = {**_APPROVALS, **(approvals or {})}
        if kind is not None and kind not in KINDS:
            raise UsageError(f"playbook: expected one of {', '.join(KINDS)}, got {kind!r}")
        if asked.keys() - set(DEFAULT_STEPS) or not set(asked.values()) <= set(get_args(Approval)):
            raise UsageError(f"playbook: unknown step or approval in {approvals}")
        steps = tuple(
            PlaybookStep(
                name=name,
                action=name,
                title=title_of(name),
                instructions=instructions(name, kind),
                approval=asked.get(name, "none"),
            )
            for name in DEFAULT_STEPS
        )
        title = f"Response to {kind.replace('-', ' ')}" if kind else "Response to a model incident"
        return cls(title=title, kind=kind, steps=steps, remediate=remediate, validate=validate)

    def run(
        self, incident: Incident, *, approve: Approve | None = None, dry_run: bool = False
    ) -> tuple[Step, ...]:
        """Do what is still to be done; once all is done, running again changes nothing.

        Args:
            incident: The incident.
            approve: Asked before a step that needs approval; True lets it go ahead. Without it a
                step whose approval is required is left waiting.
            dry_run: Only say what would be done; nothing is written and nobody is asked.

        Returns:
            The steps as they stand, or for a dry run as they would begin.

        Raises:
            IncidentError: A step could not be carried out; it is recorded as failed.
        """
        chosen = self._for(incident)
        if dry_run:
            return tuple(_forecast(step, incident) for step in chosen.steps)
        with _alone(incident.folder):
            if incident.state == "closed":
                incident.evidence.verify()
                return incident.steps
            incident.adopt(tuple(step.name for step in chosen.steps))
            for step in chosen.steps:
                outcome = chosen._attempt(step, incident, approve)  # noqa: SLF001 - its own class
                incident.mark(outcome)
                if outcome.state in {"waiting", "failed"}:
                    break
        return incident.steps

    def to_cacao(self) -> str:
        """The playbook as OASIS CACAO 2.0, JSON text; `from_cacao` reads it back."""
        return cacao.write(self.title, self.steps, kind=self.kind)

    @classmethod
    def from_cacao(
        cls,
        text: str | bytes,
        *,
        remediate: Remediation | None = None,
        validate: Validation | None = None,
    ) -> Playbook:
        """Read a linear CACAO 2.0 playbook; steps that are not ours are left to people.

        Args:
            text: JSON text.
            remediate: As for `default`.
            validate: As for `default`.

        Raises:
            IncidentError: It is malformed: a reference dangles, a step is unreachable or repeated,
                or it branches.
        """
        title, steps, kind = cacao.read(text)
        known = kind if kind in KINDS else None
        return cls(title=title, kind=known, steps=steps, remediate=remediate, validate=validate)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `playbook.json`."""
        return {
            "schema": "mlsecops.playbook/1",
            "title": self.title,
            "kind": self.kind,
            "steps": [step.to_dict() for step in self.steps],
        }

    def to_markdown(self) -> str:
        """The playbook for people."""
        lines = [f"# {_inert(self.title)}", ""]
        for number, step in enumerate(self.steps, 1):
            lines += [f"## {number}. {_inert(step.title)}", "", _inert(step.instructions), ""]
            if step.approval != "none":
                lines += [f"Approval: {step.approval}.", ""]
        return "\n".join(lines)

    def _for(self, incident: Incident) -> Playbook:
        """This playbook with the instructions of the incident's kind."""
        kind = self.kind or kind_of(incident.subject)
        steps = tuple(
            replace(step, instructions=instructions(step.name, kind))
            if step.action != "manual" and step.instructions == instructions(step.name, None)
            else step
            for step in self.steps
        )
        return replace(self, kind=kind, steps=steps)

    def _attempt(self, step: PlaybookStep, incident: Incident, approve: Approve | None) -> Step:
        known = incident.step(step.name)
        if known.state != "done" and self._needed(step, incident):
            if step.approval == "required" and approve is None:
                return Step(name=step.name, state="waiting", note="waits for approval")
            if step.approval != "none" and approve is not None and approve(step) is not True:
                return Step(name=step.name, state="waiting", note="approval was not given")
        try:
            return self._act(step, incident)
        except MLSecOpsError as error:
            incident.mark(Step(name=step.name, state="failed", note=str(error)))
            raise IncidentError(f"incident {incident.id}, step {step.name}: {error}") from error

    def _act(self, step: PlaybookStep, incident: Incident) -> Step:
        if step.action == "remediate":
            return remediate(incident, step.instructions, self.remediate)
        if step.action == "validate":
            return validate(incident, step.instructions, self.validate)
        if step.action in ACTIONS:
            return ACTIONS[step.action](incident, step.instructions)
        known = incident.step(step.name)
        if known.state == "done":
            return known
        return Step(name=step.name, state="manual", note=step.instructions)

    def _needed(self, step: PlaybookStep, incident: Incident) -> bool:
        """Whether there is something to approve."""
        if step.action == "rollback":
            return bool(affected(incident))
        if step.action == "close":
            before = incident.steps[:-1]
            return all(other.state == "done" for other in before)
        return step.action != "remediate" or self.remediate is not None


def _inert(text: str) -> str:
    """Text on one line that markdown shows as it is: a shared playbook is somebody else's."""
    return re.sub(r"([\\`\[\]|!])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _forecast(step: PlaybookStep, incident: Incident) -> Step:
    known = next((each for each in incident.steps if each.name == step.name), None)
    if known is not None and known.state == "done":
        return known
    return Step(name=step.name, note=f"would do: {step.instructions}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run of an incident at a time; the lock goes with the process."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
