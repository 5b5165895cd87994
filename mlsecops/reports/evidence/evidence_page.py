"""Page of an evidence map, and a template of what only people can write.

rows of `evidence_map` → HTML; rows that are absent → Markdown with a heading for each
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops.reports.evidence.frameworks import read_framework
from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import (
    Tone,
    badge,
    code,
    facts,
    link,
    page,
    section,
    table,
    verdict,
)

TEMPLATE: Final = "evidence-to-write.md"
"""Name of the template, in the folder of the page."""
_TONES: Final[dict[str, Tone]] = {"verified": "good", "asserted": "warn", "absent": "none"}


@checked
def evidence_page(value: Mapping[str, Any], *, model: str) -> str:
    """The page of a map.

    Args:
        value: What `evidence_map` returned.
        model: Name of the model.
    """
    framework = read_framework(value["framework"])
    counts = {each: sum(row["status"] == each for row in value["rows"]) for each in _TONES}
    return page(
        framework.title,
        verdict(
            f"{counts['verified']} of {len(value['rows'])} requirements have verified evidence",
            tag(
                "p",
                "Verified: the file's content lies under the model's signature. Asserted: somebody "
                "states it. Absent: yours to write; a template is in ",
                link(TEMPLATE),
                ".",
            ),
            tag("p", "A row shows where evidence lies. Whether it suffices is for people to say."),
            word=f"{counts['asserted']} asserted, {counts['absent']} absent",
            tone="warn" if counts["asserted"] or counts["absent"] else "good",
        ),
        section("Requirements", _table(value)),
        kicker="mlsecops · evidence",
        lead="Requirements in our own words, each with the file and field of this delivery that "
        "answers it.",
        facts=facts(
            ("Model", model),
            ("Model digest", code(value["digest"])),
            ("Text of the framework", code(framework.source)),
        ),
    )


@checked
def evidence_template(value: Mapping[str, Any]) -> str:
    """Markdown with a heading for each requirement that has no evidence."""
    framework = read_framework(value["framework"])
    parts = [
        f"# {framework.title}: yours to write",
        f"Model {value['digest']}. Text of the framework: {framework.source}",
    ]
    parts += [
        f"## {row['number']}\n\n{row['requirement']}.\n\nAnswer:\n\nAuthor and date:"
        for row in value["rows"]
        if row["status"] == "absent"
    ]
    return "\n\n".join(parts) + "\n"


def _table(value: Mapping[str, Any]) -> Markup:
    return table(
        ["Number", "Requirement", "Evidence", "Status"],
        [
            [
                tag("strong", row["number"]),
                row["requirement"],
                _evidence(row),
                badge(row["status"], _TONES[row["status"]]),
            ]
            for row in value["rows"]
        ],
    )


def _evidence(row: Mapping[str, Any]) -> Markup:
    if row["file"] is None:
        return tag("span", "—")
    place, short = code(row["field"]), code(row["digest"][:19])
    return tag("div", link(row["file"]), tag("br"), place, tag("br"), short)
