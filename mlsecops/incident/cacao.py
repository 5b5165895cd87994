"""Strict reader and writer for OASIS CACAO 2.0 playbooks.

`PlaybookStep`s ↔ CACAO JSON. Dangling references, which CACAO's JSON schema accepts, are refused.
An unknown action becomes a step for people, so that a foreign playbook runs no code. Steps need
approval unless the playbook sets another one.

Source: OASIS CACAO Security Playbooks 2.0, sections 3 (playbook), 4 (workflow), 10 (variables).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast, get_args

from mlsecops._json import parse_object
from mlsecops.errors import IncidentError
from mlsecops.incident.guidance import DEFAULT_STEPS
from mlsecops.incident.plan import Approval, PlaybookStep

__all__ = ["read", "write"]

_SPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:mlsecops-sdk:playbook")
_CREATED: Final = "2026-01-01T00:00:00.000Z"
_MAX_CHARACTERS: Final = 1_000_000  # characters; chosen: a playbook of 7 steps has about 5,000
_BRANCHES: Final = ("on_success", "on_failure", "next_steps", "on_true", "on_false", "cases")


def write(title: str, steps: Sequence[PlaybookStep], *, kind: str | None) -> str:
    """Write a playbook as CACAO 2.0 JSON text; deterministic.

    Args:
        title: Name of the playbook.
        steps: Steps in order.
        kind: Kind of incident, which becomes a label.

    Examples:
        >>> step = PlaybookStep(name="a", action="manual", title="Call", instructions="Call Ada.")
        >>> read(write("Calls", [step], kind=None)) == ("Calls", (step,), "any")
        True
    """
    ids = [_id("action", f"{title}/{step.name}") for step in steps]
    start, end, people = _id("start", title), _id("end", title), _id("organization", title)
    following = [*ids, end]
    workflow: dict[str, Any] = {start: {"type": "start", "on_completion": following[0]}}
    for place, (own, step) in enumerate(zip(ids, steps, strict=True), 1):
        workflow[own] = _action(step, agent=people, following=following[place])
    workflow[end] = {"type": "end"}
    playbook = {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": _id("playbook", f"{title}/{kind}"),
        "name": title,
        "playbook_types": ["mitigation", "remediation"],
        "created_by": _id("identity", "mlsecops-sdk"),
        "created": _CREATED,
        "modified": _CREATED,
        "labels": [kind] if kind else ["any"],
        "workflow_start": start,
        "workflow": workflow,
        "agent_definitions": {people: {"type": "organization", "name": "Model operations"}},
    }
    return json.dumps(playbook, indent=2, ensure_ascii=False)


def read(text: str | bytes) -> tuple[str, tuple[PlaybookStep, ...], str | None]:
    """Read title, steps and kind of a linear CACAO 2.0 playbook.

    Args:
        text: JSON text.

    Raises:
        IncidentError: It is malformed, or its steps are not one sequence from start to end.
    """
    playbook = _parse(text)
    if playbook.get("type") != "playbook" or playbook.get("spec_version") != "cacao-2.0":
        raise IncidentError("CACAO playbook: expected type 'playbook' and version 'cacao-2.0'")
    workflow = _object(playbook, "workflow")
    agents = playbook.get("agent_definitions", {})
    _lint(workflow, agents if isinstance(agents, dict) else {})
    steps = tuple(_step(raw) for raw in _line(workflow, playbook.get("workflow_start")))
    if not steps or len({step.name for step in steps}) != len(steps):
        raise IncidentError("CACAO playbook: expected action steps with unique names")
    labels = playbook.get("labels")
    kind = labels[0] if isinstance(labels, list) and labels else None
    return _text(playbook, "name"), steps, kind if isinstance(kind, str) else None


def _id(kind: str, name: str) -> str:
    return f"{kind}--{uuid.uuid5(_SPACE, f'{kind}/{name}')}"


def _action(step: PlaybookStep, *, agent: str, following: str) -> dict[str, Any]:
    return {
        "type": "action",
        "name": step.title,
        "description": step.instructions,
        "step_variables": {
            "__step__": _constant(step.name),
            "__action__": _constant(step.action),
            "__approval__": _constant(step.approval),
        },
        "commands": [{"type": "manual", "command": step.instructions}],
        "agent": agent,
        "on_completion": following,
    }


def _constant(value: str) -> dict[str, Any]:
    return {"type": "string", "value": value, "constant": True}


def _parse(text: str | bytes) -> dict[str, Any]:
    return parse_object(text, what="CACAO playbook", error=IncidentError, most=_MAX_CHARACTERS)


def _lint(workflow: Mapping[str, Any], agents: Mapping[str, Any]) -> None:
    for own, raw in workflow.items():
        if not isinstance(raw, dict) or raw.get("type") not in ("start", "action", "end"):
            raise IncidentError(
                f"CACAO playbook, {own}: expected a start, action or end step; branches and other "
                "kinds of step are not supported"
            )
        branches = [key for key in _BRANCHES if key in raw]
        if branches:
            raise IncidentError(f"CACAO playbook, {own}: {branches[0]} is not supported")
        following = raw.get("on_completion")
        if raw["type"] != "end" and following not in list(workflow):
            raise IncidentError(f"CACAO playbook, {own}: on_completion {following!r} is no step")
        if raw.get("agent") is not None and raw["agent"] not in list(agents):
            raise IncidentError(f"CACAO playbook, {own}: agent {raw['agent']!r} is not defined")


def _line(workflow: Mapping[str, Any], start: object) -> Iterator[dict[str, Any]]:
    """Action steps from start to end, each exactly once."""
    if not isinstance(start, str) or workflow.get(start, {}).get("type") != "start":
        raise IncidentError(f"CACAO playbook: workflow_start {start!r} names no start step")
    seen = [start]
    while workflow[seen[-1]]["type"] != "end":
        following = workflow[seen[-1]]["on_completion"]
        if following in seen:
            raise IncidentError(f"CACAO playbook: its steps form a cycle at {following}")
        seen.append(following)
    if len(seen) != len(workflow):
        lost = sorted(workflow.keys() - set(seen))
        raise IncidentError(f"CACAO playbook: {', '.join(lost)} cannot be reached")
    yield from (workflow[own] for own in seen[1:-1])


def _step(raw: dict[str, Any]) -> PlaybookStep:
    title = _text(raw, "name")
    action = _variable(raw, "__action__")
    approval = _variable(raw, "__approval__")
    known = action in DEFAULT_STEPS
    return PlaybookStep(
        name=_variable(raw, "__step__") or title,
        action=str(action) if known else "manual",
        title=title,
        instructions=_instructions(raw),
        approval=cast("Approval", approval) if approval in get_args(Approval) else "required",
    )


def _instructions(raw: dict[str, Any]) -> str:
    description = raw.get("description")
    if isinstance(description, str) and description:
        return description
    commands = raw.get("commands")
    listed = [
        str(command.get("command", ""))
        for command in (commands if isinstance(commands, list) else [])
        if isinstance(command, dict)
    ]
    return "\n".join(listed) or _text(raw, "name")


def _variable(raw: dict[str, Any], name: str) -> str | None:
    variables = raw.get("step_variables")
    found = variables.get(name) if isinstance(variables, dict) else None
    value = found.get("value") if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise IncidentError(f"CACAO playbook: expected {key} to be an object")
    return value


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise IncidentError(f"CACAO playbook: expected {key} to be text, got {value!r}")
    return value
