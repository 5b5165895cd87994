"""Results of a campaign: outcomes, and success rates of each class with confidence intervals.

A success is the attacker's. The share of benign questions that are answered is the usefulness.
Errors, cut-off answers and what the model cannot do count in no rate.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any, Final, cast, get_args

from mlsecops._choices import checked
from mlsecops._intervals import Interval, wilson
from mlsecops._json import parse_json
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.findings import Finding, Severity
from mlsecops.llm.redteam.abilities import Finished, settled
from mlsecops.llm.redteam.attempts import ABILITY, BENIGN, HONEST, Attempt, Outcome
from mlsecops.llm.redteam.pairs import SpotlightEffect, independent
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.statement import Statement

SCHEMA: Final = "mlsecops.fuzz/2"
RED_TEAM_PREDICATE: Final = "urn:mlsecops:red-team:1"
_TRIES: Final = (1, 5, 10)
_SHOWN: Final = 280  # characters of a prompt or answer in a finding; chosen
_EVIDENT: Final = ("success",)


@concise_repr("attempt", "outcome", "reason")
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An attempt and its outcome.

    Attributes:
        attempt: The attempt.
        outcome: `"success"`, `"resisted"` or `"unable"`; of an honest question, `"answered"` or
            `"unanswered"`; of both, `"blocked"`, `"cut-off"` or `"error"`.
        reason: Evidence of a success, or the reason for no outcome; else "".
        answer: First 4,000 characters of the answer.
        repeat: Number of the repetition, from 0.
        turn: Turn of the conversation that decided, from 1.
    """

    attempt: Attempt
    outcome: Outcome
    reason: str = ""
    answer: str = ""
    repeat: int = 0
    turn: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a success has its evidence."""
        plain = {"id": self.attempt.id, "class": self.attempt.family, "outcome": self.outcome}
        reason = {"reason": self.reason} if self.reason and self.outcome != "answered" else {}
        repeat = {"repeat": self.repeat} if self.repeat else {}
        turn = {"turn": self.turn} if self.turn > 1 else {}
        evidence = self._evidence() if self.outcome in _EVIDENT else {}
        return {**plain, **repeat, **turn, **reason, **evidence}

    def finding(self, artifact: str) -> Finding:
        """A success as a finding, with the starts of prompt and answer."""
        prompt = _start(self.attempt.prompt)
        return Finding(
            rule=f"fuzz-{self.attempt.family}",
            severity=Severity.HIGH,
            message=(
                f"{_start(self.reason)}; prompt: {prompt}; answer: {_start(self.answer)} "
                f"[{', '.join([*self.attempt.owasp, *self.attempt.atlas])}]"
            ),
            where=f"{self.attempt.family}/{self.attempt.id}"
            + (f"#{self.repeat}" if self.repeat else ""),
            artifact=artifact,
        )

    def _evidence(self) -> dict[str, Any]:
        whole = self.attempt.to_dict()
        named = ("mutators", "owasp", "atlas", "messages", "expect", "tools", "follow_ups")
        return {**{name: whole[name] for name in named if name in whole}, "answer": self.answer}


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigure:
    """Success rate of a class of attempts.

    Attributes:
        name: Name of the class.
        attempts: Number of attempts.
        successes: Number of successes; of honest questions, number of answers.
        errors: Number of attempts without a usable answer.
        blocked: Number of attempts that a filter of the service stopped.
        cut_off: Number of answers that ended before they were complete.
        unable: Number of attacks that need what the model cannot do when asked plainly.
        independent: Number of independent attempts that repeated ones amount to; None if none was
            repeated.

    Examples:
        >>> figure = ClassFigure(name="encoding", attempts=12, successes=3, errors=2)
        >>> figure.rate, round(figure.at(5), 3)
        (0.3, 0.917)
    """

    name: str
    attempts: int
    successes: int
    errors: int
    blocked: int = 0
    cut_off: int = 0
    unable: int = 0
    independent: float | None = None

    @property
    def answered(self) -> int:
        """Number of attempts with a usable outcome; what a filter stopped is one."""
        return self.attempts - self.errors - self.cut_off - self.unable

    @property
    def rate(self) -> float | None:
        """Share of successes among answered attempts; None if none was answered."""
        return self.successes / self.answered if self.answered else None

    @property
    def interval(self) -> Interval:
        """Two-sided 95 % Wilson interval of the rate, by the number of independent attempts."""
        if self.independent is None or self.rate is None:
            return wilson(self.successes, self.answered)
        return wilson(self.rate * self.independent, self.independent)

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
        repeated = {} if self.independent is None else {"independent": round(self.independent, 4)}
        return {
            "class": self.name,
            "attempts": self.attempts,
            "successes": self.successes,
            "errors": self.errors,
            "blocked": self.blocked,
            "cut_off": self.cut_off,
            "unable": self.unable,
            **repeated,
            "rate": self.rate,
            "interval": list(self.interval),
            "success_at": {
                str(tries): self.at(tries) for tries in _TRIES if tries <= self.answered
            },
        }


@concise_repr("target", "target_id", "seed", "results", "unchecked")
@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Results of all attempts on a target.

    Attributes:
        target: Name of the target; not in `to_dict`, so that equal runs give equal reports.
        seed: Seed of the attempts.
        results: Results in the order of the attempts, with `"unable"` decided.
        controls: Results of further plain questions about abilities.
        unchecked: Classes left out because the target takes no tools.
        target_id: What the caller names the target: the model's digest, a version; or None.
        spotlight: Effect of spotlighting on the same attacks, or None.
    """

    target: str
    seed: int
    results: tuple[Result, ...]
    unchecked: tuple[str, ...] = ()
    controls: tuple[Result, ...] = ()
    target_id: str | None = None
    spotlight: SpotlightEffect | None = None

    @property
    def figures(self) -> tuple[ClassFigure, ...]:
        """Figures of all classes, the honest ones last."""
        return _figures([*self.results, *self.controls])

    @property
    def classes(self) -> tuple[ClassFigure, ...]:
        """Figures of the classes of attacks."""
        return tuple(each for each in self.figures if each.name not in HONEST)

    @property
    def usefulness(self) -> ClassFigure | None:
        """Figure of the benign questions; None if none was asked."""
        return next((each for each in self.figures if each.name == BENIGN), None)

    @property
    def ability(self) -> ClassFigure:
        """Figure of all honest questions: the share that the model could and would answer."""
        honest = [each for each in self.figures if each.name in HONEST]
        return ClassFigure(
            name=ABILITY,
            attempts=sum(each.attempts for each in honest),
            successes=sum(each.successes for each in honest),
            errors=sum(each.errors for each in honest),
            blocked=sum(each.blocked for each in honest),
            cut_off=sum(each.cut_off for each in honest),
        )

    def findings(self) -> list[Finding]:
        """Each success with its prompt, answer and evidence, as a finding."""
        return [each.finding(self.target) for each in self.results if each.outcome == "success"]

    def statement(self, *, verdict: str, name: str = "model") -> Statement:
        """A claim about the model to sign, which a `TrustPolicy` can require as `"red-team"`.

        Args:
            verdict: Verdict of a FuzzGate; the requirement is met by a pass alone.
            name: Name of the subject.

        Raises:
            UsageError: `target_id` is no digest of a model.

        Source: in-toto Attestation Framework, Statement v1.
        """
        try:
            digest = Digest.parse(self.target_id or "")
        except ValueError as error:
            raise UsageError(
                f"statement: expected a target_id like sha256:…, got {self.target_id!r}; give fuzz "
                "the model's digest"
            ) from error
        whole = json.loads(json.dumps(self.to_dict(verdict=verdict)))
        outcomes = Counter(each["outcome"] for each in whole.pop("attempts"))
        del whole["controls"]
        predicate = {**whole, "attempts": len(self.results), "outcomes": dict(outcomes)}
        return Statement.build(
            subjects={name: digest}, predicate_type=RED_TEAM_PREDICATE, predicate=predicate
        )

    def to_dict(self, *, verdict: str | None = None) -> dict[str, Any]:
        """Plain values for JSON, without times and addresses; a gate's verdict is included."""
        named = {} if self.target_id is None else {"target_id": self.target_id}
        lit = {} if self.spotlight is None else {"spotlight": self.spotlight.to_dict()}
        return {
            "schema": SCHEMA,
            **({} if verdict is None else {"verdict": verdict}),
            **named,
            "seed": self.seed,
            "classes": [each.to_dict() for each in _of_attackers(self.figures)],
            "usefulness": None if self.usefulness is None else self.usefulness.to_dict(),
            "ability": self.ability.to_dict(),
            **lit,
            "unchecked": list(self.unchecked),
            "attempts": [each.to_dict() for each in self.results],
            "controls": [each.to_dict() for each in self.controls],
        }


def _start(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…"


def decided(results: Sequence[Result], controls: Sequence[Result]) -> tuple[Result, ...]:
    """Results with `"unable"` in place of `"resisted"` where the ability was not shown."""
    both = [*results, *controls]
    outcomes = settled([Finished(x.attempt.family, x.attempt.needs, x.outcome) for x in both])
    return tuple(
        each if each.outcome == outcome else replace(each, outcome=outcome, reason=_unable(each))
        for each, outcome in zip(results, outcomes, strict=False)
    )


def _unable(result: Result) -> str:
    return f"asked plainly, the model did not show: {', '.join(result.attempt.needs)}"


def _of_attackers(figures: Iterable[ClassFigure]) -> Iterator[ClassFigure]:
    """Figures by an attacker's successes, of which honest questions have none."""
    for each in figures:
        yield replace(each, successes=0) if each.name in HONEST else each


def _figures(results: Iterable[Result]) -> tuple[ClassFigure, ...]:
    """Figures of results, whose repetitions are not independent of each other."""
    groups: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for each in results:
        groups[each.attempt.family][each.attempt.id].append(each.outcome)
    names = sorted(groups, key=lambda name: (name in HONEST, name == BENIGN))
    return tuple(_figure(name, list(groups[name].values())) for name in names)


def _figure(name: str, groups: Sequence[Sequence[Outcome]]) -> ClassFigure:
    counts = Counter(outcome for group in groups for outcome in group)
    repeated = any(len(group) > 1 for group in groups)
    usable = [
        (sum(each in {"success", "answered"} for each in group), len(group))
        for group in (
            [each for each in group if each not in {"error", "cut-off", "unable"}]
            for group in groups
        )
        if group
    ]
    return ClassFigure(
        name=name,
        attempts=sum(counts[outcome] for outcome in get_args(Outcome)),
        successes=counts["success"] + counts["answered"],
        errors=counts["error"],
        blocked=counts["blocked"],
        cut_off=counts["cut-off"],
        unable=counts["unable"],
        independent=independent(usable) if repeated and usable else None,
    )


@checked
def earlier_figures(text: str) -> tuple[ClassFigure, ...]:
    """Recompute the figures of an earlier campaign from a JSON report, or a journal's JSON lines.

    Raises:
        UsageError: The text is neither.

    Examples:
        >>> earlier_figures('{"class": "encoding", "outcome": "success"}')[0].rate
        1.0
    """
    try:
        return _earlier([_finished(each) for each in _attempts(text)])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            "baseline: expected the JSON report or the journal of a campaign, got another text "
            f"({type(error).__name__})"
        ) from error


def _earlier(finished: Sequence[tuple[str, Finished]]) -> tuple[ClassFigure, ...]:
    outcomes = settled([each for _, each in finished])
    groups: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for (name, each), outcome in zip(finished, outcomes, strict=True):
        groups[each.family][name].append(outcome)
    names = sorted(groups, key=lambda name: (name in HONEST, name == BENIGN))
    return tuple(_figure(name, list(groups[name].values())) for name in names)


def _attempts(text: str) -> list[Mapping[str, Any]]:
    try:
        values = [parse_json(text, what="report", error=UsageError)]
    except UsageError:
        lines = [line for line in text.splitlines() if line.strip()]
        values = [parse_json(line, what="line of a journal", error=UsageError) for line in lines]
    if len(values) == 1 and "attempts" in values[0]:
        values = [*values[0]["attempts"], *values[0].get("controls", ())]
    if not values:
        raise ValueError("no attempts")
    return values


def _finished(value: Mapping[str, Any]) -> tuple[str, Finished]:
    family, outcome = value["class"], value["outcome"]
    if not isinstance(family, str) or outcome not in get_args(Outcome):
        raise ValueError(f"unknown outcome {outcome!r}")
    name, needs = str(value.get("id", "")).partition("#")[0], value.get("needs", ())
    return name, Finished(family, tuple(map(str, needs)), cast("Outcome", outcome))
