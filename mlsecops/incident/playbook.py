"""Playbook of incident response: steps, approvals and their execution.

kind of incident → steps → `run` on an incident → approval → action → state in the incident's log
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args

from mlsecops._choices import checked, of_type, one_of
from mlsecops._files import open_private, private_folder
from mlsecops._platform import lock_whole
from mlsecops._repr import concise_repr, printable
from mlsecops.errors import IncidentError, MLSecOpsError
from mlsecops.incident import cacao
from mlsecops.incident.actions import (
    ACTIONS,
    Remediation,
    Validation,
    affected,
    by_user,
    validate_serving,
)
from mlsecops.incident.guidance import DEFAULT_STEPS, KINDS, TITLES, Kind, instructions
from mlsecops.incident.incident import Incident
from mlsecops.incident.plan import Approval, PlaybookStep
from mlsecops.incident.steps import Step

__all__ = ["Playbook", "PlaybookStep"]

Approve = Callable[[PlaybookStep], bool]

_APPROVALS: Final[dict[str, Approval]] = {
    "rollback": "automatic",
    "remediate": "automatic",
    "close": "required",
}


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Playbook:
    """Steps in order, and the user's functions for two of them.

    Attributes:
        title: Name of the playbook.
        kind: Kind of incident of its instructions, or None for any.
        steps: Steps in order.
        remediate: Called with the incident to remove the origin, and again if a run was killed
            before the result was recorded; raising or False (numpy's too) is a failure.
        validate: Called with the incident and the serving version (None if the registry has none);
            raising, False, text or a `verdict` other than `"pass"` is a failure.

    Examples:
        >>> playbook = Playbook.default("extraction")
        >>> [step.name for step in playbook.steps if step.approval == "required"]
        ['close']
        >>> Playbook.from_cacao(playbook.to_cacao()) == playbook
        True
    """

    title: str
    kind: Kind | None = None
    steps: tuple[PlaybookStep, ...]
    remediate: Remediation | None = None
    validate: Validation | None = None

    @classmethod
    @checked
    def default(
        cls,
        kind: Kind | None = None,
        *,
        remediate: Remediation | None = None,
        validate: Validation | None = None,
        approvals: dict[str, Approval] | None = None,
    ) -> Playbook:
        """The seven steps: isolate, assess, rollback, forensics, remediate, validate, close.

        Args:
            kind: `poisoned-model`, `extraction`, `adversarial`, `prompt-injection`,
                `tampered-artifact` or `leaked-key`; by default `run` chooses by the incident.
            remediate: Removes the origin; without it the step is left to people.
            validate: Validates the serving version; without it the step is left to people.
            approvals: Name of a step → `none`, `automatic` (needed if `run` has an `approve`) or
                `required`. By default rollback and remediate are automatic, close is required.

        Raises:
            UsageError: The kind, a step or an approval is unknown.
        """
        of_type("approvals", approvals, (Mapping, NoneType), "a mapping of steps to approvals")
        asked = {**_APPROVALS, **(approvals or {})}
        for step, approval in asked.items():
            one_of("approvals", step, DEFAULT_STEPS)
            one_of(f"approvals: {step}", approval, get_args(Approval))
        steps = tuple(
            PlaybookStep(
                name=name,
                action=name,
                title=TITLES[name],
                instructions=instructions(name, kind),
                approval=asked.get(name, "none"),
            )
            for name in DEFAULT_STEPS
        )
        title = f"Response to {kind.replace('-', ' ')}" if kind else "Response to a model incident"
        return cls(title=title, kind=kind, steps=steps, remediate=remediate, validate=validate)

    @checked
    def run(
        self, incident: Incident, *, approve: Approve | None = None, dry_run: bool = False
    ) -> tuple[Step, ...]:
        """Run the steps that are not done; idempotent.

        Args:
            incident: The incident.
            approve: Called before a step that needs approval; True allows it. Without it, a step
                with required approval waits.
            dry_run: Return what would be done; write nothing and ask nobody.

        Returns:
            The steps with their states; for a dry run, what each would do.

        Raises:
            IncidentError: A step failed; the failure is recorded.
        """
        chosen = self._for(incident)
        if dry_run:
            return tuple(_forecast(step, incident) for step in chosen.steps)
        with _exclusive_lock(incident.folder):
            if incident.state == "closed":
                incident.copy_custody()
                incident.evidence.verify()
                return incident.steps
            incident.adopt(tuple(step.name for step in chosen.steps))
            for step in chosen.steps:
                outcome = chosen._attempt(step, incident, approve)  # noqa: SLF001 - its own class
                incident.mark(outcome)
                if outcome.state in {"waiting", "failed"}:
                    break
            incident.copy_custody()
        return incident.steps

    def to_cacao(self) -> str:
        """JSON text of OASIS CACAO 2.0, which `from_cacao` reads back."""
        return cacao.write(self.title, self.steps, kind=self.kind)

    @classmethod
    @checked
    def from_cacao(
        cls,
        text: str | bytes,
        *,
        remediate: Remediation | None = None,
        validate: Validation | None = None,
    ) -> Playbook:
        """Read a linear CACAO 2.0 playbook; unknown actions are left to people.

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
        """The playbook in markdown."""
        lines = [f"# {_escaped(self.title)}", ""]
        for number, step in enumerate(self.steps, 1):
            lines += [f"## {number}. {_escaped(step.title)}", "", _escaped(step.instructions), ""]
            if step.approval != "none":
                lines += [f"Approval: {step.approval}.", ""]
        return "\n".join(lines)

    def _for(self, incident: Incident) -> Playbook:
        """This playbook with the instructions for the incident's kind."""
        kind = self.kind or incident.kind
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
        if step.action in ACTIONS:
            return ACTIONS[step.action](incident, step.instructions)
        call = None
        if step.action == "remediate" and self.remediate is not None:
            call = partial(self.remediate, incident)
        elif step.action == "validate" and self.validate is not None:
            call = partial(validate_serving, incident, self.validate)
        name = step.action if step.action in {"remediate", "validate"} else step.name
        return by_user(incident, name, step.instructions, call)

    def _needed(self, step: PlaybookStep, incident: Incident) -> bool:
        """Whether there is something to approve."""
        if step.action == "rollback":
            return bool(affected(incident))
        if step.action == "close":
            return all(other.state == "done" for other in incident.steps[:-1])
        return step.action != "remediate" or self.remediate is not None


def _escaped(text: str) -> str:
    """Escape text for one line of markdown, since a shared playbook is untrusted."""
    return re.sub(
        r"([\\`\[\]|!])", r"\\\1", html.escape(printable(" ".join(text.split())), quote=False)
    )


def _forecast(step: PlaybookStep, incident: Incident) -> Step:
    known = next((each for each in incident.steps if each.name == step.name), None)
    if known is not None and known.state == "done":
        return known
    return Step(name=step.name, note=f"would do: {step.instructions}")


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Allow one run of an incident at a time on this machine; the lock ends with the process."""
    try:
        private_folder(folder, shared=True)
        descriptor = open_private(folder / "lock", os.O_RDWR, shared=True)
    except OSError as error:
        raise IncidentError(f"{folder}/lock: cannot be opened: {error.strerror}") from error
    try:
        lock_whole(descriptor, folder / "lock")
        yield
    finally:
        os.close(descriptor)
