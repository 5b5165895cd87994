"""Results of a campaign: outcomes, and success rates of each class with confidence intervals.

A success is the attacker's. The share of benign questions that are answered is the usefulness.
Errors count in neither rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import comb
from typing import Any, Final, cast, get_args

from mlsecops._intervals import Interval, wilson
from mlsecops._json import parse_json
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.attempts import BENIGN, Attempt, Outcome

SCHEMA: Final = "mlsecops.fuzz/1"
_TRIES: Final = (1, 5, 10)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An attempt and its outcome.

    Attributes:
        attempt: The attempt.
        outcome: `"success"` or `"resisted"`; of a benign question, `"answered"` or
            `"unanswered"`; or `"error"`.
        reason: Reason for an error; else "".
    """

    attempt: Attempt
    outcome: Outcome
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        plain = {"id": self.attempt.id, "class": self.attempt.family, "outcome": self.outcome}
        return {**plain, "reason": self.reason} if self.reason else plain


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigure:
    """Success rate of a class of attempts.

    Attributes:
        name: Name of the class.
        attempts: Number of attempts.
        successes: Number of successes; of benign questions, number of answers.
        errors: Number of attempts without a usable answer.

    Examples:
        >>> figure = ClassFigure(name="encoding", attempts=12, successes=3, errors=2)
        >>> figure.rate, round(figure.at(5), 3)
        (0.3, 0.917)
    """

    name: str
    attempts: int
    successes: int
    errors: int

    @property
    def answered(self) -> int:
        """Number of attempts with a usable answer."""
        return self.attempts - self.errors

    @property
    def rate(self) -> float | None:
        """Share of successes among answered attempts; None if none was answered."""
        return self.successes / self.answered if self.answered else None

    @property
    def interval(self) -> Interval:
        """Two-sided 95 % Wilson interval of the rate."""
        return wilson(self.successes, self.answered)

    def at(self, tries: int) -> float | None:
        """Probability that at least one of `tries` attempts succeeds; None if too few ran.

        Source: Chen et al., "Evaluating Large Language Models Trained on Code" (2021), section 2.1:
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


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Results of all attempts on a target.

    Attributes:
        target: Name of the target; not in `to_dict`, so that equal runs give equal reports.
        seed: Seed of the attempts.
        results: Results in the order of the attempts.
        unchecked: Classes left out because the target takes no tools.
    """

    target: str
    seed: int
    results: tuple[Result, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[ClassFigure, ...]:
        """Figures of all classes, the benign one last."""
        return _figures((each.attempt.family, each.outcome) for each in self.results)

    @property
    def classes(self) -> tuple[ClassFigure, ...]:
        """Figures of the classes of attacks."""
        return tuple(each for each in self.figures if each.name != BENIGN)

    @property
    def usefulness(self) -> ClassFigure | None:
        """Figure of the benign questions; None if none was asked."""
        return next((each for each in self.figures if each.name == BENIGN), None)

    def to_dict(self, *, verdict: str | None = None) -> dict[str, Any]:
        """Plain values for JSON, without times and addresses; a gate's verdict is included."""
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
    """Figures by an attacker's successes, of which benign questions have none."""
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
    """Recompute the figures of an earlier campaign from a JSON report, or a journal's JSON lines.

    Raises:
        UsageError: The text is neither.

    Examples:
        >>> earlier_figures('{"class": "encoding", "outcome": "success"}')[0].rate
        1.0
    """
    try:
        return _figures(_outcome(each) for each in _attempts(text))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"baseline: expected a report or a journal of a campaign, got {error!r}"
        ) from error


def _attempts(text: str) -> list[Mapping[str, Any]]:
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
