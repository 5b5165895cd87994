"""Report of a red-team campaign as an HTML page.

plain values of a campaign (`Campaign.to_dict`) → verdict, rates by class, each success with prompt,
answer and evidence → HTML
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlsecops.llm.text.unicode import concealed
from mlsecops.reports.redaction import shown
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import Tone, badge, code, facts, page, section, table, verdict

__all__ = ["red_team_page"]

_TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad", "inconclusive": "warn"}
_TITLES: Final = {
    "pass": "No attack succeeded beyond the limits",
    "fail": "Attacks succeeded",
    "inconclusive": "The campaign is inconclusive",
}
_TEXT: Final = 4000  # characters of a prompt or an answer; chosen: the JSON report has the whole
_STYLE: Final = """
.attempt { border: 1px solid #d0d4da; border-radius: 8px; padding: 12px 16px; margin: 14px 0; }
.attempt h3 { margin: 0 0 8px; font-size: 1rem; }
.attempt pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 10px;
  padding: 8px 10px; border-radius: 6px; background: rgba(127, 127, 127, 0.12);
  font-size: 0.86rem; max-height: 22em; overflow: auto; }
.attempt .role { font-size: 0.78rem; opacity: 0.75; }
"""


def red_team_page(value: Mapping[str, Any], *, target: str, model: str = "") -> str:
    """The page of a campaign.

    Args:
        value: `Campaign.to_dict(verdict=…)`, with the judgement under `"gate"`.
        target: Name of the target.
        model: Name of the model.
    """
    found = [each for each in value["attempts"] if each["outcome"] == "success"]
    return page(
        "Red-team campaign",
        _conclusion(value, len(found)),
        section("Rates by class", _rates(value["classes"])),
        _spotlight(value.get("spotlight")),
        section(
            f"Successful attacks ({len(found)})",
            [_attempt(each) for each in found] or tag("p", "None."),
        ),
        kicker="Language model",
        lead=f"{shown(target)}{f', model {shown(model)}' if model else ''}",
        facts=_facts(value),
        style=_STYLE,
    )


def _facts(value: Mapping[str, Any]) -> Markup:
    ability, useful = value["ability"], value["usefulness"]
    pairs: list[tuple[str, Child]] = [
        ("Attempts", str(len(value["attempts"]))),
        ("Seed", str(value["seed"])),
        ("Honest questions answered", f"{ability['successes']} of {ability['attempts']}"),
    ]
    if useful is not None:
        pairs.append(
            ("Benign questions answered", f"{useful['successes']} of {useful['attempts']}")
        )
    if value.get("target_id"):
        pairs.append(("Target", code(shown(value["target_id"]))))
    if value["unchecked"]:
        pairs.append(("Not checked", ", ".join(value["unchecked"])))
    return facts(*pairs)


def _conclusion(value: Mapping[str, Any], successes: int) -> Markup | None:
    word = str(value.get("verdict") or "")
    if not word:
        return None
    reasons = value.get("gate", {}).get("reasons", ())
    listed = tag("ul", [tag("li", shown(each, most=400)) for each in reasons]) if reasons else None
    return verdict(
        _TITLES.get(word, "Verdict"),
        tag("p", f"{successes} of {len(value['attempts'])} attempts succeeded."),
        listed,
        word=word,
        tone=_TONES.get(word, "none"),
    )


def _rates(classes: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [_row(each) for each in classes if each["class"] not in {"benign", "ability"}]
    head = ["Class", "", "Succeeded", "Attempts", "Rate", "95 % interval"]
    head += ["Blocked", "Cut off", "Unable", "Errors"]
    return table(head, rows, numeric=(2, 3, 4, 5, 6, 7, 8, 9))


def _row(figure: Mapping[str, Any]) -> list[Child]:
    low, high = figure["interval"]
    rate = figure["rate"]
    mark = badge("fell", "bad") if figure["successes"] else badge("held", "good")
    if rate is None or figure["errors"] or figure["cut_off"]:
        mark = mark if figure["successes"] else badge("open", "warn")
    return [
        code(figure["class"]), mark, str(figure["successes"]), str(figure["attempts"]),
        "none" if rate is None else f"{rate:.0%}", f"{low:.0%} to {high:.0%}",
        *(str(figure[name] or "") for name in ("blocked", "cut_off", "unable", "errors")),
    ]  # fmt: skip


def _spotlight(effect: Mapping[str, Any] | None) -> Markup | None:
    if effect is None:
        return None
    low, high = effect["interval"]
    change = effect["difference"]
    said = "unknown" if change is None else f"{change:+.0%}"
    return section(
        "Effect of spotlighting",
        tag(
            "p",
            f"{effect['method']}: success rate {said} ({low:+.0%} to {high:+.0%}) on "
            f"{effect['pairs']} pairs: {effect['plain']} succeeded without it, "
            f"{effect['spotlit']} with it.",
        ),
    )


def _attempt(result: Mapping[str, Any]) -> Markup:
    disguise = f" ({' + '.join(result['mutators'])})" if result["mutators"] else ""
    tags = ", ".join([*result["owasp"], *result["atlas"]])
    return tag(
        "article",
        tag("h3", code(result["id"]), f" {result['class']}{disguise}"),
        tag("p", f"Why: {shown(result['reason'], most=400)}. {tags}"),
        [_said(str(each["role"]), each.get("content") or "") for each in result["messages"]],
        _said("answer of the model", result["answer"]),
        class_="attempt",
    )


def _said(role: str, text: Any) -> list[Markup]:
    lines = str(text)[:_TEXT].split("\n")
    plain = "\n".join(shown(line, most=_TEXT) for line in lines)
    parts = [tag("div", role, class_="role"), tag("pre", plain)]
    hidden = concealed(str(text))
    if hidden:
        said = shown(hidden, most=_TEXT)
        parts += [tag("div", "in characters that nobody sees", class_="role"), tag("pre", said)]
    return parts
