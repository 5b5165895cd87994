"""Whether the attack finds an example that must exist: the binarisation test.

Each sample's model is altered behind its scores: a linear readout tells one point of the ball from
the sample and from many other points of it. That point is then an adversarial example of the
altered model. An attack that does not find one there could not have found one on the model either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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

__all__ = ["Altered", "altered_model", "readout"]

_SAMPLES: Final = 32  # altered models
_PAID: Final = 4  # of a served model, where each costs requests
_POINTS: Final = 100  # of the ball, from which one is told apart
_MANY: Final = 16  # elements that may change; with them a corner hardly comes twice
_RIDGE: Final = 1e-3  # of the scores' mean variance
_HEIGHT: Final = 0.95  # where the threshold lies between the best two of the points
_FOUND: Final = 0.9  # share of altered models on which the attack must succeed
_DRAWS: Final = 20  # random points that try the same
_CHANCE: Final = 0.5  # share on which they may succeed, or the test says nothing
_FLAT: Final = 1e-6  # of the scores' size; below it float32 shows no difference


def altered_model(probe: Probe) -> Check:
    """An example must exist, and the attack has to find it.

    Source:
        Zimmermann, Brendel, Tramèr and Carlini, "Increasing confidence in adversarial robustness
        evaluations" (2022), section 4; here the readout is of the scores, not of the features.
    """
    low, high = spread(probe.bounds, probe.x.shape)
    found, chance, usable = 0, 0, 0
    count = min(_PAID if probe.adapter.framework == "http" else _SAMPLES, len(probe.x))
    for i in range(count):
        row = slice(i, i + 1)
        ball = probe.ball.rows(row)
        made = readout(probe.adapter, ball, key=[probe.seed, 4, i])
        if made is None:
            continue
        usable += 1
        model = Altered(inner=probe.adapter, weights=made[0], threshold=made[1])
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
        reason = f"the scores of {count - usable} of {count} samples are flat all over the ball"
        return Check(name="altered-model", outcome="fail", reason=reason)
    passes = found >= _FOUND * usable and chance <= _CHANCE * usable
    reason = (
        f"the attack finds the example that must exist on {found} of {usable} altered models "
        f"(at least {_FOUND:.0%}), {_DRAWS} random points on {chance} (at most {_CHANCE:.0%})"
    )
    return Check(name="altered-model", outcome="pass" if passes else "fail", reason=reason)


def readout(adapter: Adapter, ball: Ball, *, key: list[int]) -> Readout | None:
    """Weights `(k,)` and threshold that tell one point of one sample's ball from the others.

    The point is the one that lies furthest from the others' mean, measured by their covariance;
    the weights sum to zero, so that a shift of all scores changes nothing. None where the scores
    do not differ.
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
        return None  # nothing tells one point apart
    scale = max(float(along.std()), 1e-12)
    mean = scores.mean(axis=0)
    threshold = second + _HEIGHT * (best - second) + float(mean @ weights)
    return weights / scale, threshold / scale


def _points(ball: Ball, *, key: list[int], count: int = _POINTS) -> Array:
    """Random points of one sample's ball; for Linf its corners, if there are many."""
    many = ball.rows(np.zeros(count, dtype=np.intp))
    points = many.scatter([[*key, turn] for turn in range(count)])
    if ball.norm == "linf" and (ball.upper > ball.lower).sum() >= _MANY:
        points = many.project(np.where(points > many.x, many.upper, many.lower))
    return points


@dataclass(slots=True, kw_only=True, eq=False)
class Altered(Wrapped):
    """An Adapter of two classes: whether a readout of another's scores passes a threshold."""

    weights: NDArray[np.float64]
    threshold: float

    def logits(self, x: Array) -> Array:
        """Zero, and how far the readout is above its threshold."""
        return self._read(self.inner.logits(x))

    def predict(self, x: Array) -> Array:
        """Probabilities of the two classes."""
        odds = 1 / (1 + np.exp(-self.logits(x)[:, 1:].clip(-50, 50)))
        return np.concatenate([1 - odds, odds], axis=1).astype(np.float32)

    def features(self, x: Array) -> Array:
        """Those of the model behind."""
        return self.inner.features(x)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        """Scores and the gradient of the cross-entropy."""

        def slope(scores: Array) -> Array:
            excess = 1 / (1 + np.exp(-scores[:, 1].astype(np.float64).clip(-50, 50))) - y
            both: Array = np.stack([-excess, excess], axis=1).astype(np.float32)
            return both

        return self.pullback(x, slope)

    def pullback(self, x: Array, cotangent: Cotangent) -> tuple[Array, Array]:
        """Scores and the gradient of any loss of them."""

        def behind(scores: Array) -> Array:
            along = cotangent(self._read(scores))[:, 1:]
            all_: Array = (along * self.weights).astype(np.float32)
            return all_

        scores, gradient = pullback(self.inner, x, behind)
        return self._read(scores), gradient

    def _read(self, scores: Array) -> Array:
        above = scores.astype(np.float64) @ self.weights - self.threshold
        both: Array = np.stack([np.zeros_like(above), above], axis=1).astype(np.float32)
        return both
