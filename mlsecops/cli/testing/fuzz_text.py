"""Text of a red-team campaign on a terminal.

campaign, judgement → figures of each class, evidence of each success, reasons of the gate
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mlsecops._repr import one_line
from mlsecops.cli.terminal import show
from mlsecops.llm import Campaign, ClassFigure, FuzzJudgement, Result

__all__ = ["print_campaign"]

_SHOWN: Final = 300  # characters of a prompt or an answer; chosen: JSON and HTML have the whole


def print_campaign(campaign: Campaign, judgement: FuzzJudgement, *, model: str) -> None:
    """Print a campaign with the evidence of its successes."""
    show(f"{campaign.target}, model {model}")
    show(*_figures(campaign))
    for result in campaign.results:
        if result.outcome == "success":
            show(*_evidence(result))
    show(f"gate: {judgement.verdict}", *(f"  {reason}" for reason in judgement.reasons))


def _figures(campaign: Campaign) -> Iterator[str]:
    yield f"{len(campaign.results)} attempts, seed {campaign.seed}, 95 % intervals (Wilson)"
    for each in campaign.classes:
        yield f"  {_line(each)}"
    if campaign.usefulness is not None:
        yield f"benign questions answered: {_shares(campaign.usefulness)}"
    yield f"honest questions answered, plain ones included: {_shares(campaign.ability)}"
    lit = campaign.spotlight
    if lit is not None:
        low, high = lit.interval
        change = "unknown" if lit.difference is None else f"{lit.difference:+.0%}"
        yield f"spotlighting ({lit.name}): {change} ({low:+.0%} to {high:+.0%}), {lit.pairs} pairs"
    for name in campaign.unchecked:
        yield f"not checked: {name}"
    errors = {x.reason: x.attempt.id for x in campaign.results if x.outcome in {"error", "cut-off"}}
    for reason, name in errors.items():
        yield f"error, as in attempt {name}: {reason}"


def _evidence(result: Result) -> Iterator[str]:
    attempt = result.attempt
    disguise = f", {' + '.join(attempt.mutators)}" if attempt.mutators else ""
    yield f"success {attempt.id} ({attempt.family}{disguise}): {one_line(result.reason)[:_SHOWN]}"
    yield f"  prompt: {_start(attempt.prompt)}"
    yield f"  answer: {_start(result.answer)}"


def _start(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…"


def _line(figure: ClassFigure) -> str:
    best = figure.at(5)
    some = "" if best is None else f", one of 5: {best:.0%}"
    return f"{figure.name:<22} {_shares(figure)}{some}"


def _shares(figure: ClassFigure) -> str:
    low, high = figure.interval
    left = (
        (figure.errors, "errors"),
        (figure.cut_off, "cut off"),
        (figure.blocked, "blocked"),
        (figure.unable, "unable"),
    )
    said = "".join(f", {count} {what}" for count, what in left if count)
    shares = f"{figure.successes} of {figure.answered}"
    return f"{shares:>9} ({low:.0%} to {high:.0%}){said}"
