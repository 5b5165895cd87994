"""Command `mlsecops incident`: alert or report → Incident → steps of the playbook → states."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlsecops._files import write_privately
from mlsecops.cli.inputs import kind_of, read_json
from mlsecops.cli.operations.registry import add_registry_options, location, open_registry
from mlsecops.cli.options import add_action, option
from mlsecops.cli.signing.sign import read_signer
from mlsecops.cli.terminal import json_text, show, show_json
from mlsecops.cli.values import key_source
from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.incident import Incident, Playbook, PlaybookStep, Step, sign_again
from mlsecops.incident.exports import to_html, to_navigator, to_ocsf, to_stix, to_thehive
from mlsecops.incident.guidance import KINDS
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer

_COMMAND = "mlsecops incident --location reg"
_SIGNED = "--key pub.pem --signer key.pem"
_OPEN = f"{_COMMAND} open alert.json {_SIGNED}"
_RUN = f"{_COMMAND} run ID {_SIGNED} --dry-run"
_COMPLETE = f"{_COMMAND} complete ID remediate --by alice --note 'client blocked' {_SIGNED}"
_SHOW = f"{_COMMAND} show ID --key pub.pem"
_REPORT = (
    f"{_COMMAND} report --kind leaked-key --digest sha256:FINGERPRINT "
    f"--message 'key in a public repository' {_SIGNED}"
)
_EXPORT = f"{_COMMAND} export ID --as html --out incident.html --key pub.pem"
EXAMPLE = f"{_OPEN}\n         {_RUN}"
_WRITES: Final = frozenset({"open", "report", "run", "complete"})
_EXPORTS: Final[dict[str, Callable[[Incident], Any]]] = {
    "ocsf": to_ocsf,
    "stix": to_stix,
    "navigator": lambda incident: to_navigator([incident]),
    "thehive": to_thehive,
    "html": to_html,
}
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"inc-[0-9a-f]{20}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--location DIR|URL", "registry folder or bucket", type=location)
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="open|report|run|complete|show|export"
    )
    opening = add_action(actions, "open", "open the incident of an alert", _OPEN)
    option(opening, "alert ALERT.json", "alert of a monitor", type=Path)
    reporting = add_action(actions, "report", "open an incident without an alert", _REPORT)
    option(reporting, "--kind KIND", "kind of incident", choices=KINDS, required=True)
    option(reporting, "--digest D", "sha256:… of the model, data or file, or the fingerprint of "
           "the leaked key", type=_digest)  # fmt: skip
    option(reporting, "--message TEXT", "what happened, in a sentence", required=True)
    option(reporting, "--client NAME", "client concerned, if one is")
    running = add_action(actions, "run", "run the default playbook until a step needs people", _RUN)
    option(running, "id ID", "incident id, from open", type=_identity)
    option(running, "--dry-run", "print the steps without running them")
    option(running, "--approve STEP", "steps that you approve, where approval is required",
           several=True)  # fmt: skip
    option(running, "--sign-again KEY.pem", "new private key, or URI of one in a key service, that "
           "signs again what a leaked key signed and holds", type=key_source)  # fmt: skip
    completing = add_action(
        actions, "complete", "record that a person completed a manual step", _COMPLETE
    )
    option(completing, "id ID", "incident id, from open", type=_identity)
    option(completing, "step STEP", "name of the step, such as remediate")
    option(completing, "--by BY", "person who completed the step", required=True)
    option(completing, "--note NOTE", "description of the work", required=True)
    showing = add_action(actions, "show", "print the state of one incident or of all", _SHOW)
    option(showing, "id ID", "incident id; default all", type=_identity, nargs="?")
    exporting = add_action(actions, "export", "write one incident for another system", _EXPORT)
    option(exporting, "id ID", "incident id", type=_identity)
    option(exporting, "--as FORM", "OCSF event, STIX bundle, ATLAS Navigator layer, TheHive alert "
           "or HTML report", choices=tuple(_EXPORTS), required=True, dest="form")  # fmt: skip
    option(exporting, "--out F", "file to write; default standard output", type=Path)
    for action in (opening, reporting, running, completing):
        add_registry_options(action, writes=True)
    for action in (showing, exporting):
        add_registry_options(action, writes=False)


def run(options: argparse.Namespace) -> int:
    """Run the action and print the state of the incident; 1 when a step failed."""
    alert = read_alert(options.alert) if options.action == "open" else None
    registry = open_registry(options)
    if options.action in _WRITES and registry.signer is None and not _dry(options):
        raise UsageError(
            f"{options.action}: expected --signer KEY.pem, which signs the incident's log"
        )
    if options.action == "show" and options.id is None:
        return _show_all(registry, options.format)
    if alert is not None:
        incident = Incident.open(alert, registry=registry)
    elif options.action == "report":
        incident = Incident.report(
            options.kind, digest=options.digest, message=options.message, client=options.client,
            registry=registry,
        )  # fmt: skip
    else:
        incident = find_incident(options.id, registry)
    if options.action == "export":
        return _export(incident, options.form, options.out)
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
    opened = registry.recorded("incident.opened")
    if not any(event.detail.get("incident") == identity for event in opened):
        raise UsageError(f"no incident {identity} in {registry.location}; open it from its alert")
    return Incident(identity, registry=registry, clock=lambda: datetime.now(UTC))


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
            f"{path}: expected an alert, as a monitor sends it to a sink, got {kind_of(value)}"
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
        state="resolved" if value.get("state") == "resolved" else "firing",
        id=_optional(value.get("id")) or "",
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected text, got {value!r}")
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _run(incident: Incident, options: argparse.Namespace) -> Sequence[Step]:
    again = None if options.sign_again is None else sign_again(_new_signer(options))
    if again is not None and incident.kind != "leaked-key":
        raise UsageError(f"--sign-again: expected a leaked key, got {incident.kind or 'no kind'}")
    playbook = Playbook.default(remediate=again)
    unknown = sorted(set(options.approve) - {step.name for step in playbook.steps})
    if unknown:
        known = ", ".join(step.name for step in playbook.steps)
        raise UsageError(f"--approve {unknown[0]}: expected one of {known}")

    def approve(step: PlaybookStep) -> bool:
        return step.approval == "automatic" or step.name in options.approve

    return playbook.run(incident, approve=approve, dry_run=options.dry_run)


def _new_signer(options: argparse.Namespace) -> Signer:
    alone = argparse.Namespace(password_env=options.password_env, cert=None, chain=[])
    return read_signer(options.sign_again, alone)


def _dry(options: argparse.Namespace) -> bool:
    return bool(options.action == "run" and options.dry_run)


def _show(incident: Incident, steps: Sequence[Step], form: str) -> None:
    if form == "json":
        show_json({**incident.to_dict(), "steps": [step.to_dict() for step in steps]})
        return
    show(f"{incident.id} {incident.state} {incident.digest or 'no digest'}")
    show(f"  {incident.subject['rule']}: {incident.subject['message']}")
    due = {deadline.step: deadline for deadline in incident.deadlines()}
    for step in steps:
        late = " (late)" if step.name in due and due[step.name].late else ""
        show(f"  {step.state:<8} {step.name:<10} {step.note}{late}")


def _export(incident: Incident, form: str, out: Path | None) -> int:
    value = _EXPORTS[form](incident)
    text = value if isinstance(value, str) else json_text(value)
    if out is None:
        print(text)
        return 0
    try:
        write_privately(out, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    show(f"{form} of {incident.id} is in {out}")
    return 0


def _show_all(registry: Registry, form: str) -> int:
    opened = registry.recorded("incident.opened")
    found = [find_incident(str(event.detail["incident"]), registry) for event in opened]
    if form == "json":
        show_json([incident.to_dict() for incident in found])
    for incident in found if form == "text" else ():
        show(f"{incident.id} {incident.state} {incident.subject['rule']} {incident.digest}")
    return 0


def _digest(text: str) -> str:
    bare = _FINGERPRINT.fullmatch(text) is not None  # as `PublicKey.fingerprint` shows it
    try:
        return str(Digest.parse(f"sha256:{text}" if bare else text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _identity(text: str) -> str:
    if _ID.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"expected inc- and 20 hex digits, got {text!r}")
    return text
