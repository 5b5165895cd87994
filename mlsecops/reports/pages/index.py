"""Index page of the deliverables.

Deliverables, digest, signers, gate → verdict and a card for each deliverable → HTML
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.reports.rendering.markup import Markup, tag
from mlsecops.reports.rendering.page import Tone, badge, code, facts, link, page, verdict


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """One deliverable of a pipeline.

    Attributes:
        title: Name.
        summary: Its result, in one or two sentences.
        status: One or two words for the badge.
        tone: Colour of the badge.
        files: Paths relative to the page.
    """

    title: str
    summary: str
    status: str
    tone: Tone
    files: tuple[str, ...]


@checked
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
    """The page that links to all deliverables.

    Args:
        deliverables: In the order of their cards.
        model: Name of the model.
        digest: `"sha256:<hex>"` of the model that is served now.
        signers: Fingerprints or identities of the signers.
        gate: Verdict of the gate (`"pass"`, `"fail"`, `"inconclusive"`).
        alerts: Number of alerts raised.
        incident: Summary of the incident, or None if there was none.
    """
    return page(
        model,
        _conclusion(deliverables, incident),
        tag("div", [_card(each) for each in deliverables], class_="grid"),
        kicker="mlsecops · deliverables",
        lead="Evidence about this model: its origin, its signers, its robustness under attack, its "
        "behaviour in operation, and the response to incidents.",
        facts=facts(
            ("Model digest", code(digest)),
            ("Signed by", [tag("div", code(signer)) for signer in signers] or "nobody"),
            ("Robustness gate", gate),
            ("Alerts", str(alerts)),
        ),
    )


def _conclusion(deliverables: Sequence[Deliverable], incident: str | None) -> Markup:
    open_ = [each.title for each in deliverables if each.tone in {"bad", "warn"}]
    happened = None if incident is None else tag("p", incident)
    if open_:
        body = tag("p", f"Review: {', '.join(open_)}.")
        return verdict(
            "Some deliverables need attention", body, happened, word="attention", tone="warn"
        )
    body = tag("p", f"All {len(deliverables)} deliverables are complete.")
    return verdict("No open findings", body, happened, word="complete", tone="good")


def _card(each: Deliverable) -> Markup:
    files = tag("ul", [tag("li", link(path)) for path in each.files])
    return tag(
        "section",
        tag("h2", each.title, badge(each.status, each.tone)),
        tag("p", each.summary, class_="note"),
        files,
        class_="card",
    )
