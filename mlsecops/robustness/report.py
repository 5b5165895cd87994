"""Robustness report: accuracies with exact confidence bounds, and checks of the measurement.

evaluation → `RobustnessReport` → `robustness.json`, signed Statement, Gate
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from mlsecops._choices import one_of
from mlsecops._intervals import CONFIDENCE, Interval, clopper_pearson
from mlsecops._notebook import NotebookView, notebook_view
from mlsecops._repr import concise_repr, one_line
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, Statement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array

SCHEMA: Final = "mlsecops.robustness/1"
TREE_PROOF: Final = "tree-verification"
ROBUSTNESS_PREDICATE: Final = "urn:mlsecops:robustness:1"
_ROUNDING: Final = 1e-6  # share; chosen: tolerance for numbers that went through text
Outcome: TypeAlias = Literal["pass", "fail", "inconclusive"]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One test of the measurement itself.

    Attributes:
        name: Which test.
        outcome: `"pass"`, `"fail"` or `"inconclusive"`; after the last two the true accuracy may
            be lower, and no Gate passes.
        reason: The measured numbers.
    """

    name: str
    outcome: Outcome
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Whether each sample was answered correctly `(n,)`, and the model's inputs unless unknown."""

    correct: NDArray[np.bool_]
    examples: Array | None


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """An accuracy: on the clean inputs, under one attack, or under all of them.

    Attributes:
        name: `"clean"`, `"worst"`, or the attack's name.
        params: The attack's settings (empty for clean and worst).
        hits: Samples answered correctly.
        n: Samples.
        outcomes: Each sample's outcome; None where only the number is known.

    Examples:
        >>> figure = Figure(name="pgd", params={}, hits=90, n=100)
        >>> figure.accuracy, round(figure.interval.low, 3)
        (0.9, 0.836)
    """

    name: str
    params: Mapping[str, Any]
    hits: int
    n: int
    outcomes: Outcomes | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        correct: NDArray[np.bool_],
        examples: Array | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Figure:
        """The accuracy of samples with known outcomes."""
        outcomes, hits = Outcomes(correct=correct, examples=examples), int(correct.sum())
        return cls(name=name, params=params or {}, hits=hits, n=len(correct), outcomes=outcomes)

    @property
    def accuracy(self) -> float:
        """Share answered correctly."""
        return self.hits / self.n

    @property
    def interval(self) -> Interval:
        """One-sided 95 % Clopper-Pearson bounds, from below and from above."""
        return clopper_pearson(self.hits, self.n)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each sample was answered correctly, bool `(n,)`."""
        if self.outcomes is None:
            raise self._missing("only the number of correct samples")
        return self.outcomes.correct

    @property
    def examples(self) -> Array:
        """The model's inputs, shaped as the samples."""
        if self.outcomes is None or self.outcomes.examples is None:
            raise self._missing("no examples")
        return self.outcomes.examples

    def _missing(self, kept: str) -> UsageError:
        return UsageError(
            f"figure {self.name!r} was read from a file, which holds {kept}: "
            "evaluate the model again"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `correct` is one bit per sample, in base64."""
        plain: dict[str, Any] = {"accuracy": self.accuracy, "interval": list(self.interval)}
        if self.outcomes is not None:
            bits = np.packbits(self.outcomes.correct).tobytes()
            plain["correct"] = base64.b64encode(bits).decode()
        return plain


def _view(report: RobustnessReport) -> NotebookView:
    failed = [each.name for each in report.checks if each.outcome != "pass"]
    facts = [
        ("samples", report.n),
        ("output", report.output),
        ("checks", f"{len(report.checks) - len(failed)} of {len(report.checks)} passed"),
        *(("not passed", each) for each in failed),
    ]
    figures = {"clean": report.clean, **report.attacks, "worst": report.worst}
    if report.certified is not None:
        figures["certified"] = report.certified
    rows = (
        (name, f"{each.accuracy:.3f}", f"{each.interval.low:.3f} to {each.interval.high:.3f}")
        for name, each in figures.items()
    )
    head = ("attack", "accuracy", "interval")
    return NotebookView(f"Robustness of {report.model}", facts, head, rows)


@notebook_view(_view)
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RobustnessReport:
    """Result of a robustness evaluation.

    Attributes:
        n: Distinct samples.
        seed: Seed of the evaluation.
        bounds: Smallest and largest value of an input.
        clean: Accuracy on the unperturbed inputs.
        attacks: Accuracy under each attack, by name, in the order they ran.
        worst: Accuracy against whichever attack succeeds on each sample.
        checks: Tests of the measurement; empty when they were switched off.
        model: Name of the model's type.
        forward_passes: Samples sent forward through the model, in all.
        gradient_passes: Samples among them whose gradient was computed.
        model_digest: Digest of the model, or None if the caller gave none.
        data_digest: Digest of the samples and labels.
        certified: Accuracy proven by a certificate, or None.
        output: Form of the model's answers and how it is known, or None.
        rows: Row of each sample among those given `(n,)`, or None if all were distinct.
        given: Samples given, repeats included; 0 if unknown.
    """

    n: int
    seed: int
    bounds: tuple[float, float]
    clean: Figure
    attacks: Mapping[str, Figure]
    worst: Figure
    checks: tuple[Check, ...]
    model: str
    forward_passes: int
    gradient_passes: int
    model_digest: Digest | None
    data_digest: Digest | None
    certified: Figure | None = None
    output: str | None = None
    rows: NDArray[np.intp] | None = None
    given: int = 0

    def __repr__(self) -> str:
        figures = {"clean": self.clean, **self.attacks, "worst": self.worst}
        failed = [f"{check.name} failed" for check in self.checks if check.outcome != "pass"]
        passed = f"{len(self.checks) - len(failed)} of {len(self.checks)} checks passed"
        shown = [", ".join([passed, *failed])]
        shown += [f"{name} {_brief(figure)}" for name, figure in figures.items()]
        about = f"{self.model}, n={self.n}, seed={self.seed}"
        return one_line(f"<RobustnessReport {about}: {'; '.join(shown)}>")

    @property
    def strongest(self) -> Figure:
        """Figure of the attack that left the lowest accuracy."""
        return min(self.attacks.values(), key=lambda figure: figure.accuracy)

    def to_dict(self, *, verdict: str | None = None) -> dict[str, Any]:
        """Plain values for `robustness.json`.

        Args:
            verdict: A Gate's verdict, to include in the file.
        """
        return {
            "schema": SCHEMA,
            **({} if verdict is None else {"verdict": verdict}),
            "n": self.n,
            "seed": self.seed,
            "bounds": list(self.bounds),
            "confidence": {"method": "clopper-pearson, one-sided bounds", "level": CONFIDENCE},
            "clean": self.clean.to_dict(),
            "worst": self.worst.to_dict(),
            "attacks": [
                {"name": name, **_with_params(figure)} for name, figure in self.attacks.items()
            ],
            **({} if self.certified is None else {"certified": _with_params(self.certified)}),
            "checks": [check.to_dict() for check in self.checks],
            "model": self.model,
            "output": self.output,
            "given": self.given or self.n,
            "forward_passes": self.forward_passes,
            "gradient_passes": self.gradient_passes,
            "model_digest": None if self.model_digest is None else str(self.model_digest),
            "data_digest": None if self.data_digest is None else str(self.data_digest),
            "atlas": ["AML.T0015", "AML.T0043.000"],
        }

    def statement(self, *, verdict: str | None = None, name: str = ".") -> Statement:
        """The figures as a Statement about the model, to be signed with it.

        Args:
            verdict: A Gate's verdict, to include in the predicate.
            name: Name of the subject.

        Raises:
            UsageError: The report has no model digest.

        Source: in-toto Attestation Framework, Statement v1; the predicate is `robustness.json`.
        """
        if self.model_digest is None:
            raise UsageError(
                "statement: expected a report with a model digest, got none; give "
                "evaluate_robustness the model_digest"
            )
        return Statement.build(
            subjects={name: self.model_digest},
            predicate_type=ROBUSTNESS_PREDICATE,
            predicate=json.loads(json.dumps(self.to_dict(verdict=verdict))),
        )

    def of_caller(
        self,
        model: object,
        shown: Callable[[Array], Any],
        *,
        kept: NDArray[np.intp],
        given: int,
        bounds: tuple[float, float] | None = None,
    ) -> RobustnessReport:
        """The report on encoded inputs as one on the inputs that the caller gave.

        Args:
            model: The caller's model.
            shown: From encoded examples to the caller's form of them.
            kept: Place of each distinct sample among those given.
            given: Samples given.
            bounds: Bounds of the caller's inputs; by default those of the report.
        """

        def figure(found: Figure) -> Figure:
            if found.outcomes is None or found.outcomes.examples is None:
                return found
            examples = shown(found.outcomes.examples)
            return replace(found, outcomes=replace(found.outcomes, examples=examples))

        return replace(
            self,
            bounds=self.bounds if bounds is None else bounds,
            clean=figure(self.clean),
            worst=figure(self.worst),
            attacks={name: figure(each) for name, each in self.attacks.items()},
            model=type(model).__qualname__,
            rows=kept if len(kept) < given else None,
            given=given,
        )

    def with_certified(self, figure: Figure) -> RobustnessReport:
        """The report with a certified accuracy."""
        return replace(self, certified=figure)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RobustnessReport:
        """Read what `to_dict` wrote, and recompute the intervals.

        Raises:
            UsageError: It is not such a report, or its numbers contradict each other.
        """
        try:
            return _parsed(data)
        except KeyError as error:
            raise UsageError(f"not a robustness report ({SCHEMA}): it lacks {error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"not a robustness report ({SCHEMA}): {error}") from error


def is_tree_proof(certified: Figure) -> bool:
    """Whether a certified figure bounds the worst case of its own report from below."""
    return certified.params.get("method") == TREE_PROOF


def _brief(figure: Figure) -> str:
    return f"{figure.accuracy:.3f} [{figure.interval.low:.3f}, {figure.interval.high:.3f}]"


def _parsed(data: Mapping[str, Any]) -> RobustnessReport:
    n = int(data["n"])
    if n < 1:
        raise UsageError(f"n: expected at least one sample, got {n}")
    low, high = data["bounds"]
    attacks = {a["name"]: _figure(a["name"], a, n) for a in data["attacks"]}
    worst, certified = _figure("worst", data["worst"], n), data.get("certified")
    clean = _figure("clean", data["clean"], n)
    if not attacks or worst.hits > min(figure.hits for figure in (clean, *attacks.values())):
        raise UsageError("worst: expected at most each attack's accuracy and at least one attack")
    proof = None if certified is None else _figure("certified", certified, n)
    if proof and is_tree_proof(proof) and proof.hits > worst.hits:
        raise UsageError("certified: expected at most the worst case")
    return RobustnessReport(
        n=n,
        seed=int(data["seed"]),
        bounds=(float(low), float(high)),
        clean=clean,
        attacks=attacks,
        worst=worst,
        checks=tuple(_check(check) for check in data["checks"]),
        model=str(data.get("model", "")),
        forward_passes=int(data.get("forward_passes", 0)),
        gradient_passes=int(data.get("gradient_passes", 0)),
        model_digest=_digest(data["model_digest"]),
        data_digest=_digest(data["data_digest"]),
        certified=proof,
        output=data.get("output"),
        given=int(data.get("given", n)),
    )


def _figure(name: str, data: Mapping[str, Any], n: int) -> Figure:
    hits = round(float(data["accuracy"]) * n)
    if abs(hits / n - float(data["accuracy"])) > _ROUNDING:
        raise UsageError(f"{name}: expected a share of {n} samples, got {data['accuracy']}")
    outcomes = _outcomes(name, data.get("correct"), hits=hits, n=n)
    params = dict(data.get("params", {}))
    figure = Figure(name=name, params=params, hits=hits, n=n, outcomes=outcomes)
    low, high = (float(bound) for bound in data["interval"])
    if max(abs(low - figure.interval.low), abs(high - figure.interval.high)) > _ROUNDING:
        expected = list(figure.interval)
        raise UsageError(f"{name}: expected the interval {expected}, got {data['interval']}")
    return figure


def _check(data: Mapping[str, Any]) -> Check:
    outcome = one_of(f"check {data['name']!r}", data["outcome"], get_args(Outcome))
    return Check(name=str(data["name"]), outcome=outcome, reason=str(data.get("reason", "")))


def _digest(text: str | None) -> Digest | None:
    return None if text is None else Digest.parse(text)


def _with_params(figure: Figure) -> dict[str, Any]:
    return {"params": dict(figure.params), **figure.to_dict()}


def _outcomes(name: str, text: str | None, *, hits: int, n: int) -> Outcomes | None:
    if text is None:
        return None
    try:
        octets = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise UsageError(f"{name}: correct: expected base64, got: {error}") from error
    bits = np.unpackbits(octets).astype(bool)
    if len(octets) != -(-n // 8) or bits[n:].any() or int(bits.sum()) != hits:
        raise UsageError(f"{name}: correct: expected {hits} of {n} bits set")
    return Outcomes(correct=bits[:n], examples=None)
