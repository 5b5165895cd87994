"""Whether a measured robustness may be believed: tests of the measurement, run before a pass.

Each check looks for a known way in which a gradient attack comes out too weak. A failed check
does not say that the model is weak; it says that this attack could not have shown it.

Source:
    Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018);
    Croce et al., RobustBench and AutoAttack's checks (2021); Zimmermann et al., "Increasing
    confidence in adversarial robustness evaluations" (2022), whose test is `altered_model`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.robustness.attacks.ball import spread
from mlsecops.robustness.attacks.margins import margin_gradient, margins
from mlsecops.robustness.evaluation.binarization_test import altered_model
from mlsecops.robustness.report import Check, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.evaluation.probe import Probe

__all__ = ["run_checks"]

_DIRECTIONS: Final = 8  # random directions per sample
_RANDOM_POINTS: Final = 20  # points of the ball per sample
_NOISE: Final = 1e-4  # of the scores' scale; float32 kernels repeat to about 1e-6
_BLIND: Final = 0.02  # share of samples that may lack a gradient
_AGREEMENT: Final = 0.5  # correlation of predicted and real changes; smooth networks give > 0.9
_SEEN: Final = 0.2  # share of the real change that the gradient has to account for
_MISSED: Final = 0.05  # share of samples on which a random point may beat the attack
_RANGE: Final = 1e3  # nats; trained networks stay under about 100
_SMALL_STEP: Final = 0.1  # of eps


def run_checks(probe: Probe) -> tuple[Check, ...]:
    """All checks that apply.

    With no sample left standing there is nothing to doubt but the repetition; gradients matter to
    an attack that follows them, and the search to one that keeps to a ball.
    """
    checks = [deterministic(probe), output_range(probe)]
    if not len(probe.x) or not math.isfinite(probe.attack.eps):
        return tuple(checks)
    if probe.by_gradient:
        checks += [gradient_present(probe), gradient_agrees(probe)]
    return (*checks, random_search(probe), altered_model(probe))


def deterministic(probe: Probe) -> Check:
    """A randomised model answers each question differently, and one draw proves little."""
    x = np.concatenate([probe.x, probe.examples])
    if not len(x):
        return _check("deterministic", "pass", "no sample stood, so nothing rests on repetition")
    first = probe.logits(x)
    others = [probe.logits(x), probe.logits(x)]
    if probe.by_gradient:
        others.append(probe.gradients(x, np.concatenate([probe.y, probe.y]))[0])
    scale = max(float(np.nanmax(np.abs(first))), 1e-12)
    apart = max(float(np.nanmax(np.abs(other - first))) for other in others)
    reason = f"scores of the same inputs differ by {apart / scale:.1e} of their scale"
    return _check("deterministic", "pass" if apart <= _NOISE * scale else "fail", reason)


def output_range(probe: Probe) -> Check:
    """Scores that are not numbers, or that span thousands of nats, hide the way down."""
    x = np.concatenate([probe.x, probe.examples])
    if not len(x):
        return _check("output-range", "pass", "no sample stood")
    logits = probe.logits(x)
    if np.isnan(logits).any():
        return _check("output-range", "fail", "scores hold NaN")
    typical = float(np.median(margins(logits, np.concatenate([probe.y, probe.y]))))
    verdict: Outcome = "pass" if typical <= _RANGE else "fail"
    return _check(
        "output-range", verdict, f"the median margin is {typical:.3g} nats (limit {_RANGE:g})"
    )


def gradient_present(probe: Probe) -> Check:
    """A sample without a gradient was not attacked."""
    blind = np.zeros(len(probe.x), dtype=bool)
    for x in (probe.x, probe.examples):
        _, gradient = _margin_gradients(probe, x)
        flat = gradient.reshape(len(x), -1)
        blind |= ~np.isfinite(flat).all(axis=1) | ~flat.any(axis=1)
    share = float(blind.mean())
    reason = f"{share:.1%} of {len(blind)} samples have no usable gradient (limit {_BLIND:.0%})"
    return _check("gradient-present", "pass" if share <= _BLIND else "fail", reason)


def gradient_agrees(probe: Probe) -> Check:
    """The gradient has to foretell what small changes really do, at the bounds and inside.

    A clamp, a rounding or a saturation in the graph shows up as real change that the gradient
    does not foretell, often only for elements that lie on a bound.
    """
    rng = np.random.default_rng([probe.seed, 1])
    low, high = spread(probe.bounds, probe.x.shape)
    free, edge = low < high, (probe.x <= low) | (probe.x >= high)
    rival, gradient = _margin_gradients(probe, probe.x)
    said = []
    for name, mask in (("at the bounds", edge & free), ("inside the bounds", ~edge & free)):
        if mask.mean() < 0.01:  # noqa: PLR2004 - too few elements to measure
            continue
        for length in (_SMALL_STEP, 1.0):
            real, foretold = _changes(probe, mask, rival, gradient, length=length, rng=rng)
            fault = _disagreement(real, foretold, linear=length == _SMALL_STEP)
            if fault:
                return _check("gradient-agrees", "fail", f"{name}, at {length:g} eps, {fault}")
        said.append(name)
    return _check("gradient-agrees", "pass", f"the gradient foretells changes {' and '.join(said)}")


def random_search(probe: Probe) -> Check:
    """No random point of the ball may be closer to a wrong answer than the attack's example."""
    reached = margins(probe.logits(probe.examples), probe.y)
    ball = probe.ball
    best = np.full(len(probe.x), np.inf)
    for turn in range(_RANDOM_POINTS):
        points = ball.scatter([[probe.seed, 2, turn, row] for row in range(len(ball))])
        if ball.norm == "linf":  # corners reach furthest
            points = ball.project(np.where(points > ball.x, ball.upper, ball.lower))
        best = np.minimum(best, margins(probe.logits(points), probe.y))
    beaten = float((best < reached).mean())
    fooled = int((best < 0).sum())
    reason = (
        f"{_RANDOM_POINTS} random points beat the attack on {beaten:.1%} of {len(best)} samples "
        f"(limit {_MISSED:.0%}) and fool the model on {fooled}"
    )
    return _check("random-search", "fail" if beaten > _MISSED or fooled else "pass", reason)


def _margin_gradients(probe: Probe, x: Array) -> tuple[Labels, Array]:
    parts = [
        margin_gradient(
            probe.adapter, x[i : i + probe.batch_size], probe.y[i : i + probe.batch_size]
        )
        for i in range(0, len(x), probe.batch_size)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _changes(
    probe: Probe,
    mask: NDArray[np.bool_],
    rival: Labels,
    gradient: Array,
    *,
    length: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and foretold changes of the margin along random directions, each (m, directions)."""
    rows = np.arange(len(probe.x))

    def margin(x: Array) -> NDArray[np.float64]:
        logits = probe.logits(x).astype(np.float64)
        difference: NDArray[np.float64] = logits[rows, probe.y] - logits[rows, rival]
        return difference

    here = margin(probe.x)
    real, foretold = [], []
    for _ in range(_DIRECTIONS):
        noise = rng.standard_normal(probe.x.shape) * mask
        if probe.attack.norm == "linf":
            noise = np.sign(noise)
        else:
            flat = np.linalg.norm(noise.reshape(len(noise), -1), axis=1)
            noise /= np.maximum(flat, 1e-12).reshape(-1, *(1,) * (noise.ndim - 1))
        step = length * probe.attack.eps * noise
        moved = np.clip(probe.x + step, *probe.bounds).astype(np.float32)
        real.append(margin(moved) - here)
        product = gradient.astype(np.float64) * (moved.astype(np.float64) - probe.x)
        foretold.append(product.reshape(len(rows), -1).sum(axis=1))
    return np.stack(real, axis=1), np.stack(foretold, axis=1)


def _disagreement(
    real: NDArray[np.float64], foretold: NDArray[np.float64], *, linear: bool
) -> str | None:
    """What is wrong between the two, or None."""
    size, said = float(np.sqrt((real**2).mean())), float(np.sqrt((foretold**2).mean()))
    if not np.isfinite(said) or not np.isfinite(size):
        return "the scores or their gradient are not finite"
    if size <= 1e-6:  # noqa: PLR2004 - under float32's rounding: the model does not look there
        return None
    if said < _SEEN * size:
        return f"the gradient foretells {said / size:.0%} of the change (at least {_SEEN:.0%})"
    if not linear:
        return None
    together = float((real * foretold).mean() / (size * said))
    if together < _AGREEMENT:
        return f"foretold and real change correlate by {together:.2f} (at least {_AGREEMENT})"
    return None


def _check(name: str, outcome: Outcome, reason: str) -> Check:
    return Check(name=name, outcome=outcome, reason=reason)
