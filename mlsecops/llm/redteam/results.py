"""What came out of a campaign: outcomes, and the rates of each class with their intervals.

A success is the attacker's; that benign questions are answered is usefulness. An error is neither:
rates are of what was answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import comb
from typing import Any, Final, cast, get_args

from mlsecops._intervals import Interval, wilson
from mlsecops._json import parse_json
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.attempts import BENIGN, Attempt, Outcome

__all__ = ["Campaign", "ClassFigure", "Result", "earlier_figures"]

SCHEMA: Final = "mlsecops.fuzz/1"
_TRIES: Final = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An attempt and what became of it.

    Attributes:
        attempt: What was asked.
        outcome: `"success"` or `"resisted"`; of a benign question, `"answered"` or
            `"unanswered"`; or `"error"`.
        reason: Why it is an error, in words of ours; else "".
    """

    attempt: Attempt
    outcome: Outcome
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        told = {"id": self.attempt.id, "class": self.attempt.family, "outcome": self.outcome}
        return {**told, "reason": self.reason} if self.reason else told


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigure:
    """How often attempts of a class succeeded.

    Attributes:
        name: The class.
        attempts: How many were made.
        successes: How many of them succeeded; of the benign ones, how many were answered.
        errors: How many brought no answer that can be judged.
    """

    name: str
    attempts: int
    successes: int
    errors: int

    @property
    def answered(self) -> int:
        """Attempts that can be judged."""
        return self.attempts - self.errors

    @property
    def rate(self) -> float | None:
        """Share of the answered attempts that succeeded; None if none was answered."""
        return self.successes / self.answered if self.answered else None

    @property
    def interval(self) -> Interval:
        """Wilson's interval of that share, two-sided, 95 %."""
        return wilson(self.successes, self.answered)

    def at(self, tries: int) -> float | None:
        """The chance that the best of so many different attempts succeeds; None if too few ran.

        Source:
            Chen et al., "Evaluating Large Language Models Trained on Code" (2021), section 2.1:
            the unbiased estimator pass@k.
        """
        if not 1 <= tries <= self.answered:
            return None
        return 1 - comb(self.answered - self.successes, tries) / comb(self.answered, tries)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "class": self.name,
            "attempts": self.attempts,
            "successes": self.successes,
            "errors": self.errors,
            "rate": self.rate,
            "interval": list(self.interval),
            "success_at": {
                str(tries): self.at(tries) for tries in _TRIES if tries <= self.answered
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """All attempts on a target.

    Attributes:
        target: Name of the target, for people; not in `to_dict`, so that equal runs are equal.
        seed: Which the attempts were drawn from.
        results: In the order in which they were drawn.
        unchecked: Classes that were left out, since the target cannot be offered tools.
    """

    target: str
    seed: int
    results: tuple[Result, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[ClassFigure, ...]:
        """Each class with its counts, the benign one last."""
        pairs = [(each.attempt.family, each.outcome) for each in self.results]
        return _figures(pairs)

    @property
    def classes(self) -> tuple[ClassFigure, ...]:
        """The classes of attacks."""
        return tuple(each for each in self.figures if each.name != BENIGN)

    @property
    def usefulness(self) -> ClassFigure | None:
        """How often benign questions were answered; None if none was asked."""
        return next((each for each in self.figures if each.name == BENIGN), None)

    def to_dict(self, *, verdict: str | None = None) -> dict[str, Any]:
        """Plain values for JSON; no times, no address.

        Args:
            verdict: A gate's verdict, to stand in it.
        """
        return {
            "schema": SCHEMA,
            **({} if verdict is None else {"verdict": verdict}),
            "seed": self.seed,
            "classes": [each.to_dict() for each in _of_attackers(self.figures)],
            "usefulness": None if self.usefulness is None else self.usefulness.to_dict(),
            "unchecked": list(self.unchecked),
            "attempts": [each.to_dict() for each in self.results],
        }


def _of_attackers(figures: Iterable[ClassFigure]) -> Iterator[ClassFigure]:
    """The figures by what an attacker won, which is nothing where a benign question is answered."""
    for each in figures:
        yield replace(each, successes=0) if each.name == BENIGN else each


def _figures(pairs: Iterable[tuple[str, Outcome]]) -> tuple[ClassFigure, ...]:
    counts = Counter(pairs)
    names = sorted(dict.fromkeys(name for name, _ in counts), key=lambda name: name == BENIGN)
    return tuple(
        ClassFigure(
            name=name,
            attempts=sum(counts[name, outcome] for outcome in get_args(Outcome)),
            successes=counts[name, "success"] + counts[name, "answered"],
            errors=counts[name, "error"],
        )
        for name in names
    )


def earlier_figures(text: str) -> tuple[ClassFigure, ...]:
    """The figures of an earlier campaign, counted anew from its attempts.

    Args:
        text: A report in JSON, or a journal in JSON lines.

    Raises:
        UsageError: It is neither.
    """
    try:
        return _figures(_outcome(each) for each in _attempts(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"neither a report nor a journal of a campaign: {error!r}") from error


def _attempts(text: str) -> list[Mapping[str, Any]]:
    """What stands under `attempts` of a report, or in the lines of a journal."""
    try:
        values = [parse_json(text, what="report", error=UsageError)]
    except UsageError:
        lines = [line for line in text.splitlines() if line.strip()]
        values = [parse_json(line, what="line of a journal", error=UsageError) for line in lines]
    if len(values) == 1 and "attempts" in values[0]:
        values = list(values[0]["attempts"])
    if not values:
        raise ValueError("no attempts")
    return values


def _outcome(value: Mapping[str, Any]) -> tuple[str, Outcome]:
    name, outcome = value["class"], value["outcome"]
    if not isinstance(name, str) or outcome not in get_args(Outcome):
        raise ValueError(f"unknown outcome {outcome!r}")
    return name, cast("Outcome", outcome)
