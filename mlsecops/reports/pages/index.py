"""What a pipeline delivered, as the first page: how things stand, and a card for each part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import Tone, badge, code, facts, link, page, verdict

_WARN: Final[Tone] = "warn"
_GOOD: Final[Tone] = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """One of the things a pipeline hands over.

    Attributes:
        title: What it is.
        summary: How it stands, in a sentence or two.
        status: One or two words for its badge.
        tone: What the badge's colour means.
        files: Paths beside the page.
    """

    title: str
    summary: str
    status: str
    tone: Tone
    files: tuple[str, ...]


def index_page(
    deliverables: Sequence[Deliverable],
    *,
    model: str,
    digest: str,
    signers: Sequence[str],
    gate: str,
    alerts: int,
    incident: str | None,
) -> str:
    """The page that leads to all the others.

    Args:
        deliverables: In the order of their cards.
        model: What the model is called.
        digest: `"sha256:<hex>"` of the model that is served now.
        signers: Fingerprints or identities of those who signed it.
        gate: The gate's verdict (`"pass"`, `"fail"`, `"inconclusive"`).
        alerts: Number of alerts that were raised.
        incident: What happened in the incident, or None if there was none.
    """
    return page(
        model,
        _conclusion(deliverables, incident),
        tag("div", [_card(each) for each in deliverables], class_="grid"),
        kicker="mlsecops · deliverables",
        lead="What stands behind this model: where it came from, who vouches for it, how it holds "
        "under attack, and what happens when something goes wrong.",
        facts=facts(
            ("Model digest", code(digest)),
            ("Signed by", [tag("div", code(signer)) for signer in signers] or "nobody"),
            ("Robustness gate", gate),
            ("Alerts", str(alerts)),
        ),
    )


def _conclusion(deliverables: Sequence[Deliverable], incident: str | None) -> Markup:
    open_ = [each.title for each in deliverables if each.tone in {"bad", "warn"}]
    if open_:
        title, tone, word = "Some of it needs attention", _WARN, "attention"
        body: list[Child] = [tag("p", f"Look at: {', '.join(open_)}.")]
    else:
        title, tone, word = "Everything holds", _GOOD, "holds"
        body = [tag("p", f"All {len(deliverables)} deliverables are complete.")]
    if incident is not None:
        body.append(tag("p", incident))
    return verdict(title, *body, word=word, tone=tone)


def _card(each: Deliverable) -> Markup:
    files = tag("ul", [tag("li", link(path)) for path in each.files])
    return tag(
        "section",
        tag("h2", each.title, badge(each.status, each.tone)),
        tag("p", each.summary, class_="note"),
        files,
        class_="card",
    )
