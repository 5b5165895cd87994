"""Proof besides the attacks: certified accuracy of a tree ensemble, and its own attack's examples.

evaluation of a tree model → trees read → one search for each norm → `TreeProof`: figures, a lower
bound, and checks that the trees read are those that answer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mlsecops.adapters.base import softmax
from mlsecops.adapters.sklearn import SklearnAdapter
from mlsecops.adapters.trees.boosters import BoosterAdapter, EnsembleAdapter
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness.report import TREE_PROOF, Check, Figure
from mlsecops.robustness.trees.attack import TreeAttack, searched
from mlsecops.robustness.trees.goals import another_class
from mlsecops.robustness.trees.verification import WORK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Labels
    from mlsecops.adapters.trees.ensemble import Ensemble
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.trees.boxes import Targets
    from mlsecops.robustness.trees.space import Space

    Judged: TypeAlias = Callable[[Attack, Any, Figure], Figure]

_ROUNDED: Final = 1e-3  # of eps; chosen: far below what decides
_SAME: Final = 1e-4  # probability; chosen: libraries sum in float32, and differ by 1e-6
_LARGEST: Final = 500.0  # logit; chosen: its exponential is finite
_ADAPTERS: Final = (SklearnAdapter, BoosterAdapter, EnsembleAdapter)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeProof:
    """What the trees themselves say about an evaluation.

    Attributes:
        figures: Accuracy under the tree attack, by name.
        proven: Whether each sample is proven right in every ball `(n,)`, or None without a proof.
        balls: Radius of the proof for each norm.
        undecided: Samples neither proven nor beaten.
        checks: Checks of the proof.
    """

    figures: Mapping[str, Figure]
    proven: NDArray[np.bool_] | None
    balls: Mapping[str, float]
    undecided: int
    checks: tuple[Check, ...] = ()

    def certified(self, worst: Figure) -> Figure | None:
        """Lower bound of the worst case, or None without a proof."""
        if self.proven is None:
            return None
        params = {"method": TREE_PROOF, "balls": dict(self.balls), "undecided": self.undecided}
        return Figure.of("certified", self.proven & worst.correct, params=params)


@dataclass(slots=True, kw_only=True, eq=False)
class Prover:
    """A tree model of an evaluation, whose trees could be read or not.

    Attributes:
        ensemble: The trees, or None with the `reason`.
        reason: Why they could not be read.
        targets: Goals of an attacker for rows of the samples; by default another class.
    """

    ensemble: Ensemble | None
    reason: str = ""
    targets: Callable[[Ensemble, NDArray[np.int64]], Targets] | None = None

    @classmethod
    def of(cls, read: Callable[[], Ensemble | None]) -> Prover | None:
        """The prover of what is read; with the reason where it cannot be, None without trees."""
        try:
            ensemble = read()
        except Exception as error:  # noqa: BLE001 - steps raise what they like; nothing is proven
            reason = str(error) if isinstance(error, UsageError) else repr(error)
            return cls(ensemble=None, reason=reason)
        return None if ensemble is None else cls(ensemble=ensemble)

    def prove(
        self,
        space: Space | None,
        y: Labels,
        attacks: Sequence[Attack],
        clean: Figure,
        judged: Judged,
        *,
        logits: NDArray[np.float32],
        progress: Progress | None = None,
    ) -> TreeProof:
        """Search the balls of the attacks on the samples that are right.

        Args:
            space: The samples, as the trees take them; None where they could not be read.
            y: Labels `(n,)`.
            attacks: Attacks of the evaluation.
            clean: Accuracy without an attack.
            judged: Asks the model itself: (attack, examples, clean) → figure.
            logits: The model's own scores of the samples `(n, k)`, as its Adapter gives them.
            progress: Called with (samples decided, samples).
        """
        balls = _balls(attacks)
        if self.ensemble is None or space is None:
            return _without(f"the trees cannot be read: {self.reason}")
        rounding = float(getattr(space, "rounding", 0.0))
        if balls and rounding > _ROUNDED * min(balls.values()):
            return _without(
                f"float32 rounds inputs by up to {rounding:.3g} before the pipeline's steps, no "
                "small part of eps; give a data frame, or inputs without an offset"
            )
        if not balls:
            return TreeProof(figures={}, proven=None, balls={}, undecided=0)
        differ = self._differ(space, logits)
        if differ:
            return _without(f"{differ} samples are answered otherwise than the trees read say")
        rows, count = np.flatnonzero(clean.correct), len(clean.correct)
        proven, undecided = clean.correct.copy(), np.zeros(count, bool)
        figures: dict[str, Figure] = {}
        contradicted = 0
        for norm, eps in balls.items():
            attack = TreeAttack(eps, norm, work=_work(attacks, norm))
            wanted = self._targets(y, rows)
            found = searched(self.ensemble, _Rows(space, rows), wanted, attack, progress)
            examples = space.x.copy()
            examples[rows] = found.examples
            figure = judged(attack, space.examples(examples), clean)
            figures[attack.name] = figure
            held = figure.correct[rows]
            random = judged(attack, space.examples(_drawn(space, norm, eps)), clean)
            contradicted += int((found.proven & ~(held & random.correct[rows])).sum())
            proven[rows] &= found.proven
            undecided[rows] |= ~found.proven & held
        if contradicted:
            return _without(f"{contradicted} proven samples are beaten all the same")
        reason = f"{int(undecided.sum())} of {count} samples are neither proven nor beaten"
        return TreeProof(
            figures=figures, proven=proven, undecided=int(undecided.sum()),
            balls={str(norm): eps for norm, eps in balls.items()},
            checks=(Check(name="trees-read", outcome="pass", reason=reason),),
        )  # fmt: skip

    def _targets(self, y: Labels, rows: NDArray[np.int64]) -> Targets:
        assert self.ensemble is not None  # noqa: S101 - for type checkers
        if self.targets is not None:
            return self.targets(self.ensemble, rows)
        return another_class(self.ensemble, y[rows])

    def _differ(self, space: Space, logits: NDArray[np.float32]) -> int:
        """Samples that the model answers otherwise than its trees, or with other scores."""
        ensemble = self.ensemble
        assert ensemble is not None  # noqa: S101 - for type checkers
        if self.targets is not None:
            return 0  # whoever gave them has compared the answers
        scores = ensemble.scores(space.x)
        if scores.shape != logits.shape:
            return len(logits)
        targets = another_class(ensemble, logits.argmax(axis=1))
        margin = np.einsum("ngk,nk->ng", targets.weights, scores * ensemble.divisor)
        beyond_a_tie = (margin + targets.offset > targets.slack).any(axis=1)
        return int((beyond_a_tie | _other_scores(ensemble, scores, logits)).sum())


def _other_scores(ensemble: Ensemble, scores: Any, logits: Any) -> NDArray[np.bool_]:
    """Samples `(n,)` whose probabilities are not those of the trees' scores.

    Answers alone would not show trees that the model leaves out (after early stopping, say).
    """
    if len(np.unique(logits)) <= 2:  # noqa: PLR2004 - labels alone, as 0 and 1
        return np.zeros(len(logits), bool)
    if ensemble.scale == "probabilities":
        ways = [scores]
    else:  # one class or each of its own: libraries make probabilities of sums in either way
        each = 1 / (1 + np.exp(-np.clip(scores, -_LARGEST, _LARGEST)))
        ways = [softmax(scores), each / each.sum(axis=1, keepdims=True)]
        if scores.shape[1] == 2:  # noqa: PLR2004 - of two classes, also times a positive factor
            ours, theirs = (np.diff(given, axis=1).ravel() for given in (scores, logits))
            factor = max(float(ours @ theirs) / max(float(ours @ ours), 1e-300), 0.0)
            ways.append(softmax(scores * factor))
    own = softmax(logits.astype(np.float64))
    off = min((np.abs(way - own).max(axis=1) for way in ways), key=np.median)
    found: NDArray[np.bool_] = off > _SAME
    return found


def _drawn(space: Space, norm: Norm, eps: float) -> NDArray[np.float64]:
    """A point of each sample's ball, where the model must not contradict a proof either."""
    ball = space.ball(norm, eps)
    share = np.random.default_rng(11).uniform(0.02, 0.98, ball.low.shape)  # off the edges
    points: NDArray[np.float64] = ball.low + share * (ball.high - ball.low)
    if ball.radius is not None:
        offset = (points - ball.x) / (1.0 if ball.unit is None else ball.unit)
        length = np.sqrt(np.nansum(offset**2, axis=1, keepdims=True))
        inside = 0.98 * ball.radius / np.maximum(length, 0.98 * ball.radius)
        points = ball.x + (points - ball.x) * inside
    if ball.whole is not None:
        points = np.where(ball.whole, ball.x + np.trunc(points - ball.x), points)
    return np.where(np.isnan(ball.x), np.nan, points)


class _Rows:
    """Some rows of a space."""

    def __init__(self, space: Space, rows: NDArray[np.int64]) -> None:
        self._space, self._rows = space, rows

    @property
    def x(self) -> Any:
        return self._space.x[self._rows]

    def ball(self, norm: Norm, eps: float) -> Any:
        return self._space.ball(norm, eps).rows(self._rows)

    def choices(self) -> Any:
        return self._space.choices()

    def examples(self, rows: Any) -> Any:
        return self._space.examples(rows)


def unwrapped(model: Any) -> Any:
    """The model behind an Adapter that answers as it does; any other object as it is."""
    return model.model if type(model) in _ADAPTERS else model


def prover_of(
    adapter: Adapter, read: Callable[[Any], Ensemble | None] = read_trees
) -> Prover | None:
    """The prover of a tree model; None if the model is no tree ensemble, or is wrapped."""
    if type(adapter) not in _ADAPTERS:
        return None
    return Prover.of(lambda: read(adapter.model))


def _balls(attacks: Sequence[Attack]) -> dict[Norm, float]:
    """Largest radius of each norm among the attacks that keep to a ball."""
    found: dict[Norm, float] = {}
    for attack in attacks:
        if math.isfinite(attack.eps):
            found[attack.norm] = max(found.get(attack.norm, 0.0), float(attack.eps))
    return found


def _work(attacks: Sequence[Attack], norm: Norm) -> int:
    """Work that a tree attack among the attacks asks for; the usual without one."""
    asked = [a.work for a in attacks if isinstance(a, TreeAttack) and a.norm == norm]
    return max(asked, default=WORK)


def _without(reason: str) -> TreeProof:
    check = Check(name="trees-read", outcome="fail", reason=reason)
    return TreeProof(figures={}, proven=None, balls={}, undecided=0, checks=(check,))
