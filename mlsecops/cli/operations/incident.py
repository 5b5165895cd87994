"""Command `mlsecops incident`: alert → Incident → steps of the playbook → states."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlsecops.cli.inputs import read_json
from mlsecops.cli.operations.registry import add_registry_options, open_registry
from mlsecops.cli.options import add_action, option
from mlsecops.cli.terminal import show, show_json
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.incident import Incident, Playbook, PlaybookStep, Step
from mlsecops.registry import Registry

_COMMAND = "mlsecops incident --location reg"
_SIGNED = "--key pub.pem --signer key.pem"
_OPEN = f"{_COMMAND} open alert.json {_SIGNED}"
_RUN = f"{_COMMAND} run ID {_SIGNED} --dry-run"
_COMPLETE = f"{_COMMAND} complete ID remediate --by alice --note 'client blocked' {_SIGNED}"
_SHOW = f"{_COMMAND} show ID --key pub.pem"
EXAMPLE = f"{_OPEN}\n         {_RUN}"
_ID: Final = re.compile(r"inc-[0-9a-f]{20}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--location DIR", "registry folder", type=Path)
    actions = parser.add_subparsers(dest="action", required=True, metavar="open|run|complete|show")
    opening = add_action(actions, "open", "open the incident of an alert", _OPEN)
    option(opening, "alert ALERT.json", "alert of a monitor", type=Path)
    running = add_action(actions, "run", "run the default playbook until a step needs people", _RUN)
    option(running, "id ID", "incident id, from open", type=_identity)
    option(running, "--dry-run", "print the steps without running them")
    option(running, "--approve STEP", "steps that you approve, where approval is required",
           several=True)  # fmt: skip
    completing = add_action(
        actions, "complete", "record that a person completed a manual step", _COMPLETE
    )
    option(completing, "id ID", "incident id, from open", type=_identity)
    option(completing, "step STEP", "name of the step, such as remediate")
    option(completing, "--by BY", "person who completed the step", required=True)
    option(completing, "--note NOTE", "description of the work", required=True)
    showing = add_action(actions, "show", "print the state of one incident or of all", _SHOW)
    option(showing, "id ID", "incident id; default all", type=_identity, nargs="?")
    for action in (opening, running, completing):
        add_registry_options(action, writes=True)
    add_registry_options(showing, writes=False)


def run(options: argparse.Namespace) -> int:
    """Run the action and print the state of the incident; 1 when a step failed."""
    alert = read_alert(options.alert) if options.action == "open" else None
    registry = open_registry(options)
    if options.action != "show" and registry.signer is None and not _dry(options):
        raise UsageError(
            f"{options.action}: expected --signer KEY.pem, which signs the incident's log"
        )
    if options.action == "show" and options.id is None:
        return _show_all(registry, options.format)
    if alert is not None:
        incident = Incident.open(alert, registry=registry)
    else:
        incident = find_incident(options.id, registry)
    if options.action == "complete":
        incident.complete(options.step, by=options.by, note=options.note)
    steps = _run(incident, options) if options.action == "run" else incident.steps
    _show(incident, steps, options.format)
    return int(options.action == "run" and any(step.state == "failed" for step in steps))


def find_incident(identity: str, registry: Registry) -> Incident:
    """The incident with an id.

    Raises:
        UsageError: The registry has no such incident.
    """
    incident = Incident(identity, registry=registry, clock=lambda: datetime.now(UTC))
    if not incident.folder.is_dir():
        raise UsageError(f"no incident {identity} in {registry.location}; open it from its alert")
    return incident


def read_alert(path: Path) -> Alert:
    """The alert in a JSON file, as `Alert.to_dict` writes it.

    Raises:
        UsageError: The file cannot be opened, or holds no alert.
    """
    value = read_json(path)
    try:
        return _alert(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path}: expected an alert, as a monitor sends it to a sink: {error!r}"
        ) from error


def _alert(value: Mapping[str, Any]) -> Alert:
    at = datetime.fromisoformat(value["at"])
    if at.tzinfo is None:
        raise ValueError("at has no time zone")
    threshold = float(value["threshold"])
    if math.isnan(threshold):
        raise ValueError("threshold is not a number")
    return Alert(
        rule=_text(value["rule"]),
        monitor=_text(value["monitor"]),
        client=_optional(value.get("client")),
        digest=_optional(value.get("digest")),
        reading=float(value["reading"]),
        threshold=threshold,
        window=_text(value["window"]),
        severity=Severity[value["severity"].upper()],
        atlas=_optional(value.get("atlas")),
        message=_text(value["message"]),
        at=at,
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected text, got {value!r}")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _run(incident: Incident, options: argparse.Namespace) -> Sequence[Step]:
    playbook = Playbook.default()
    unknown = sorted(set(options.approve) - {step.name for step in playbook.steps})
    if unknown:
        known = ", ".join(step.name for step in playbook.steps)
        raise UsageError(f"--approve {unknown[0]}: expected one of {known}")

    def approve(step: PlaybookStep) -> bool:
        return step.approval == "automatic" or step.name in options.approve

    return playbook.run(incident, approve=approve, dry_run=options.dry_run)


def _dry(options: argparse.Namespace) -> bool:
    return bool(options.action == "run" and options.dry_run)


def _show(incident: Incident, steps: Sequence[Step], form: str) -> None:
    if form == "json":
        show_json({**incident.to_dict(), "steps": [step.to_dict() for step in steps]})
        return
    show(f"{incident.id} {incident.state} {incident.digest or 'no digest'}")
    show(f"  {incident.subject['rule']}: {incident.subject['message']}")
    for step in steps:
        show(f"  {step.state:<8} {step.name:<10} {step.note}")


def _show_all(registry: Registry, form: str) -> int:
    opened = registry.recorded("incident.opened")
    found = [find_incident(str(event.detail["incident"]), registry) for event in opened]
    if form == "json":
        show_json([incident.to_dict() for incident in found])
    for incident in found if form == "text" else ():
        show(f"{incident.id} {incident.state} {incident.subject['rule']} {incident.digest}")
    return 0


def _identity(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"expected inc- and 20 hex digits, got {text!r}")
    return text
