"""Binarization test: search for an adversarial example that must exist.

sample, model → linear readout of the scores → `Altered` model → attack → found or missed

The readout separates one point of the ball from the sample and from many other points. That point
is an adversarial example of the altered model. An attack that finds none there cannot be trusted
on the original model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from mlsecops.adapters.wrapper import Wrapped
from mlsecops.robustness.attacks.ball import Ball, spread
from mlsecops.robustness.attacks.losses import pullback
from mlsecops.robustness.report import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Cotangent, Labels
    from mlsecops.robustness.evaluation.probe import Probe

    Readout = tuple[NDArray[np.float64], float]

_SAMPLES: Final = 32  # altered models; chosen: bounds the cost of the test
_SAMPLES_HTTP: Final = 4  # altered models of a served model; chosen: each costs requests
_POINTS: Final = 100  # points of the ball per readout; chosen
_MANY: Final = 16  # free elements; chosen: with as many, random corners hardly repeat
_RIDGE: Final = 1e-3  # of the scores' mean variance; chosen: keeps the covariance invertible
_HEIGHT: Final = 0.95  # of the gap between the best two points; chosen: threshold near the best
_FOUND: Final = 0.9  # share of altered models on which the attack must succeed; chosen
_DRAWS: Final = 20  # random points per altered model; chosen
_CHANCE: Final = 0.5  # share on which random points may succeed; chosen: above, the test is void
_FLAT: Final = 1e-6  # of the scores' size; float32 resolution


def altered_model(probe: Probe) -> Check:
    """The attack has to find an example that exists by construction.

    Source: Zimmermann, Brendel, Tramèr and Carlini, "Increasing confidence in adversarial
    robustness evaluations" (2022), section 4; here on the scores, not on the features.
    """
    low, high = spread(probe.bounds, probe.x.shape)
    found, chance, usable = 0, 0, 0
    count = min(_SAMPLES_HTTP if probe.adapter.framework == "http" else _SAMPLES, len(probe.x))
    for i in range(count):
        row = slice(i, i + 1)
        ball = probe.ball.rows(row)
        separating = readout(probe.adapter, ball, key=[probe.seed, 4, i])
        if separating is None:
            continue
        usable += 1
        model = Altered(inner=probe.adapter, weights=separating[0], threshold=separating[1])
        example = probe.attack.perturb(
            model, probe.x[row], np.zeros(1, dtype=np.int64), seed=probe.seed,
            bounds=(low[row], high[row]), batch_size=probe.batch_size, index=np.array([i]),
        )  # fmt: skip
        found += int(model.logits(example).argmax(axis=1)[0])
        points = _points(ball, key=[probe.seed, 5, i], count=_DRAWS)
        chance += int(model.logits(points).argmax(axis=1).any())
    return _judged(found=found, chance=chance, usable=usable, count=count)


def _judged(*, found: int, chance: int, usable: int, count: int) -> Check:
    if usable < count / 2:
        reason = f"the scores of {count - usable} of {count} samples are constant in the ball"
        return Check(name="altered-model", outcome="fail", reason=reason)
    passes = found >= _FOUND * usable and chance <= _CHANCE * usable
    reason = (
        f"the attack finds the existing example on {found} of {usable} altered models "
        f"(at least {_FOUND:.0%}), {_DRAWS} random points on {chance} (at most {_CHANCE:.0%})"
    )
    return Check(name="altered-model", outcome="pass" if passes else "fail", reason=reason)


def readout(adapter: Adapter, ball: Ball, *, key: list[int]) -> Readout | None:
    """Weights `(k,)` and threshold that separate one point of a sample's ball from the others.

    It is the point with the largest Mahalanobis distance. The weights sum to zero: a shift of all
    scores changes nothing. None if the scores do not differ.
    """
    points = np.concatenate([_points(ball, key=key), ball.x])
    scores = adapter.logits(points).astype(np.float64)
    if not np.isfinite(scores).all():
        return None
    scores -= scores.mean(axis=1, keepdims=True)
    offset = scores - scores.mean(axis=0)
    variance = float((offset**2).mean())
    if np.sqrt(variance) <= _FLAT * max(float(np.abs(scores).max()), 1e-12):
        return None
    covariance = offset.T @ offset / len(offset) + _RIDGE * variance * np.eye(scores.shape[1])
    directions = np.linalg.solve(covariance, offset[:-1].T).T  # one for each point but the sample
    furthest = int(np.einsum("ij,ij->i", directions, offset[:-1]).argmax())
    weights = directions[furthest] - directions[furthest].mean()
    along = offset @ weights
    second, best = np.sort(along)[-2:]
    if along[-1] == best or best - second <= _FLAT * best:
        return None  # no point can be separated
    scale = max(float(along.std()), 1e-12)
    mean = scores.mean(axis=0)
    threshold = second + _HEIGHT * (best - second) + float(mean @ weights)
    return weights / scale, threshold / scale


def _points(ball: Ball, *, key: list[int], count: int = _POINTS) -> Array:
    """Random points of one sample's ball; corners for Linf, if there are many."""
    many = ball.rows(np.zeros(count, dtype=np.intp))
    points = many.scatter([[*key, turn] for turn in range(count)])
    if ball.norm == "linf" and (ball.upper > ball.lower).sum() >= _MANY:
        points = many.project(np.where(points > many.x, many.upper, many.lower))
    return points


@dataclass(slots=True, kw_only=True, eq=False)
class Altered(Wrapped):
    """Two-class Adapter: whether a readout of the inner scores exceeds a threshold."""

    abstention: ClassVar[None] = None
    weights: NDArray[np.float64]
    threshold: float

    def logits(self, x: Array) -> Array:
        """Zero, and the readout minus its threshold."""
        return self._read(self.inner.logits(x))

    def predict(self, x: Array) -> Array:
        """Probabilities of the two classes."""
        odds = 1 / (1 + np.exp(-self.logits(x)[:, 1:].clip(-50, 50)))
        return np.concatenate([1 - odds, odds], axis=1).astype(np.float32)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Logits and the gradient of the cross-entropy."""

        def slope(scores: Array) -> Array:
            excess = 1 / (1 + np.exp(-scores[:, 1].astype(np.float64).clip(-50, 50))) - y
            return np.stack([-excess, excess], axis=1).astype(np.float32)

        return self.pullback(x, slope)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Logits and the gradient of any loss."""

        def behind(scores: Array) -> Array:
            along = cotangent(self._read(scores))[:, 1:]
            return (along * self.weights).astype(np.float32)

        scores, gradient = pullback(self.inner, x, behind)
        return self._read(scores), gradient

    def _read(self, scores: Array) -> Array:
        above = scores.astype(np.float64) @ self.weights - self.threshold
        return np.stack([np.zeros_like(above), above], axis=1).astype(np.float32)
