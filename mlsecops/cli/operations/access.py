"""Command `mlsecops access`: policy and request → decision, or what of each rule fits."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlsecops.access import AccessPolicy, Explanation, RuleMatch
from mlsecops.access.bucket_policy import lint_bucket_policy
from mlsecops.access.permissions import audit_permissions
from mlsecops.cli.options import add_action, add_format, option
from mlsecops.cli.terminal import show, show_json
from mlsecops.cli.values import pair
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity

_COMMAND: Final = "mlsecops access"
_REQUEST: Final = (
    "--policy access.toml --subject team/ann --action dataset:read --resource payments/2026"
)
EXAMPLE = f"{_COMMAND} check {_REQUEST}"
_ABOUT: Final = {
    "check": "decide one request; exit 1 where it is denied",
    "explain": "decide one request, and say of each rule what of it fits",
    "files": "find files and folders that another user may change",
    "bucket": "find what an S3 bucket policy allows beyond what is needed",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="verb", required=True, metavar="|".join(_ABOUT))
    for name in ("check", "explain"):
        action = add_action(actions, name, _ABOUT[name], f"{_COMMAND} {name} {_REQUEST}")
        option(action, "--policy F.toml", "access policy", type=Path, required=True)
        option(action, "--subject NAME", "subject that asks", required=True)
        option(action, "--action NAME", "action that it asks for", required=True)
        option(action, "--resource NAME", "resource of the action", required=True)
        option(action, "--attribute NAME=VALUE", "what conditions are compared with; true, false "
               "and numbers are such", type=pair("NAME=VALUE", _value), several=True)  # fmt: skip
        option(action, "--at TIME", "time of the request, ISO 8601 with timezone; default now",
               type=_time)  # fmt: skip
        add_format(action)
    files = add_action(actions, "files", _ABOUT["files"], f"{_COMMAND} files data/")
    option(files, "path PATH", "file or folder", type=Path)
    add_format(files)
    bucket = add_action(actions, "bucket", _ABOUT["bucket"], f"{_COMMAND} bucket policy.json")
    option(bucket, "path F.json", "bucket policy", type=Path)
    add_format(bucket)


def run(options: argparse.Namespace) -> int:
    """Print the decision or the findings; 1 where it is denied, or one is high or critical."""
    if options.verb == "files":
        return _print_findings(audit_permissions(options.path), options.format)
    if options.verb == "bucket":
        return _print_findings(lint_bucket_policy(_read(options.path)), options.format)
    policy = AccessPolicy.load(options.policy)
    request = (options.subject, options.action, options.resource)
    given: dict[str, Any] = {"attributes": dict(options.attribute), "at": options.at}
    found = policy.explain(*request, **given)
    if options.verb == "explain":
        _explain(found, options.format)
    elif options.format == "json":
        show_json(found.decision.to_dict())
    else:
        show(_said(found))
    return 0 if found.decision.allowed else 1


def _said(found: Explanation) -> str:
    decision = found.decision
    verdict = "allowed" if decision.allowed else "denied"
    who = f"{decision.subject or 'nobody'} {decision.action} {decision.resource}"
    return f"{verdict}: {who}: {decision.reason}"


def _explain(found: Explanation, form: str) -> None:
    if form == "json":
        show_json(found.to_dict())
        return
    show(_said(found), f"  groups: {', '.join(found.groups) or 'none'}")
    for number, match in enumerate(found.rules, 1):
        show(f"  {number}. {match.rule}: {_fits(match)}")


def _fits(match: RuleMatch) -> str:
    if match.applies:
        return "applies"
    wrong = [name for name in ("subject", "action", "resource") if not getattr(match, name)]
    wrong += [] if match.in_time else ["time"]
    wrong += [f"condition {name}" for name in match.broken]
    wrong += [f"condition {name} (not said)" for name in match.missing]
    return f"not: {', '.join(wrong)}"


def _print_findings(found: Sequence[Finding], form: str) -> int:
    if form == "json":
        show_json({"findings": [finding.to_dict() for finding in found]})
    else:
        show(*(f"{each.severity.label:<8} {each.rule}: {each.message}" for each in found))
        show("nothing found" if not found else f"{len(found)} found")
    return int(any(each.severity >= Severity.HIGH for each in found))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected UTF-8 text: {error}") from error


def _value(text: str) -> str | float | bool:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected a time in ISO 8601 such as 2026-01-02T12:00+00:00, got {text[:80]!r}"
        ) from error
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"expected a time with a timezone, got {text[:80]!r}")
    return at
