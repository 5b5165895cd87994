"""HTML report of an incident: one page without scripts or links, for people.

Incident → facts, steps with deadlines, custody → HTML text in which everything is escaped
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from mlsecops._choices import checked
from mlsecops.incident.exports.facts import IncidentFacts

if TYPE_CHECKING:
    from mlsecops.incident.incident import Incident

__all__ = ["to_html"]

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ccc}"
    "td{overflow-wrap:anywhere}.late{color:#b00020;font-weight:600}"
)


@checked
def to_html(incident: Incident) -> str:
    """The incident as one HTML page.

    Args:
        incident: The incident.

    Returns:
        A whole document, which needs nothing else.
    """
    facts = IncidentFacts.of(incident)
    sealed = incident.evidence.sealed
    summary = [
        ("Incident", facts.id),
        ("State", facts.state),
        ("Severity", facts.severity.label),
        ("What happened", facts.message),
        ("Digest", facts.digest or "none"),
        ("Client", facts.client or "none"),
        ("Technique", f"{facts.technique or 'unknown'} {facts.technique_name}"),
        ("Opened", facts.opened.isoformat()),
        ("Evidence", "not sealed" if sealed is None else f"sealed with {sealed}"),
        ("Further alerts", str(len(incident.alerts))),
    ]
    parts = [
        f"<h1>{escape(facts.title)}</h1>",
        _table((), summary),
        "<h2>Steps</h2>",
        _steps(incident, facts),
        "<h2>Chain of custody</h2>",
        _table(("Time", "Event", "What"), _custody(incident)),
    ]
    title = f"<title>{escape(facts.id)}</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _steps(incident: Incident, facts: IncidentFacts) -> str:
    due = {deadline.step: deadline for deadline in incident.deadlines()}
    rows = []
    for step in facts.steps:
        deadline = due.get(step["name"])
        when = "" if deadline is None else escape(f"{deadline.due:%Y-%m-%d %H:%M %Z}")
        late = " class=late" if deadline is not None and deadline.late else ""
        cells = "".join(f"<td>{escape(str(step[key]))}</td>" for key in ("name", "state", "note"))
        rows.append(f"<tr>{cells}<td{late}>{when}{' late' if late else ''}</td></tr>")
    return f"<table>{_head(('Step', 'State', 'Note', 'Due'))}{''.join(rows)}</table>"


def _custody(incident: Incident) -> Iterable[tuple[str, ...]]:
    for event in incident.events():
        what = event.get("step") or event.get("occurrence") or ""
        state = f" {event['state']}: {event['note']}" if event["type"] == "step" else ""
        yield event["at"], event["type"], f"{what}{state}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{_head(head) if head else ''}{body}</table>"


def _head(names: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"
