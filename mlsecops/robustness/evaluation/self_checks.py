"""Self-checks of a robustness measurement: gradient masking, randomness, weak attacks.

Probe, and one for each gradient attack → `run_checks` → Checks. Each check tests for a known reason
why a gradient attack is too weak. A failed check means that this attack could not have shown
whether the model is weak.

Source: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018);
Croce et al., RobustBench and AutoAttack's checks (2021); Zimmermann et al., "Increasing confidence
in adversarial robustness evaluations" (2022), whose test is `altered_model`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops.robustness.attacks.ball import lengths, spread
from mlsecops.robustness.attacks.losses import margins
from mlsecops.robustness.evaluation.binarization_test import altered_model
from mlsecops.robustness.report import Check, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.evaluation.probe import Probe

_DIRECTIONS: Final = 8  # random directions per sample; chosen
_RANDOM_POINTS: Final = 20  # points of the ball per sample; chosen
_NOISE: Final = 1e-4  # of the scores' scale; chosen: float32 kernels repeat to about 1e-6
_BLIND: Final = 0.02  # share of samples that may lack a gradient; chosen
_AGREEMENT: Final = 0.5  # correlation; chosen: smooth networks reach more than 0.9
_EXPLAINED: Final = 0.2  # share of the real change that the gradient must predict; chosen
_MISSED: Final = 0.05  # share of samples on which a random point may beat the attack; chosen
_RESOLVED: Final = 1e-4  # of a sample's range of scores; chosen: a fine step of an attack
_IGNORED: Final = 1e-6  # of the scores' range; below float32 rounding: the model ignores elements
_SMALL_STEP: Final = 0.1  # of eps; chosen: short enough for a linear prediction


def run_checks(probe: Probe, by_gradient: Sequence[Probe] = ()) -> tuple[Check, ...]:
    """All checks that apply: the gradient checks to gradient attacks, the search checks to balls.

    Without a correctly classified sample only repetition and range matter.

    Args:
        probe: The strongest attack; of those that follow gradients, if there are any.
        by_gradient: Each attack that follows gradients.
    """
    checks = [deterministic(probe), output_range(probe)]
    if not len(probe.x) or not math.isfinite(probe.attack.eps):
        return tuple(checks)
    if by_gradient:
        balls = {(each.attack.norm, each.attack.eps): each for each in by_gradient}
        checks.append(_merged([(each, gradient_present(each)) for each in by_gradient]))
        checks.append(_merged([(each, gradient_agrees(each)) for each in balls.values()]))
    return (*checks, random_search(probe), altered_model(probe))


def _merged(found: Sequence[tuple[Probe, Check]]) -> Check:
    """One check of several attacks: the first that fails, or the first."""
    failed = [(probe, check) for probe, check in found if check.outcome != "pass"]
    if not failed:
        return found[0][1]
    probe, check = failed[0]
    return replace(check, reason=f"{probe.attack.name}: {check.reason}")


def deterministic(probe: Probe) -> Check:
    """A randomized model answers differently each time, so that one draw proves little."""
    x = np.concatenate([probe.x, probe.examples])
    if not len(x):
        return _check("deterministic", "pass", "no sample was classified correctly")
    first = probe.logits(x)
    pairs = [(probe.logits(x), first), (probe.logits(x), first)]
    if probe.by_gradient:
        y = np.concatenate([probe.y, probe.y])
        traced = probe.gradients(x, y)[0]
        # With autocast the scores of a backward pass are other numbers, but the same each time.
        exact = getattr(probe.adapter, "options", {}).get("precision") is None
        pairs.append((traced, first if exact else probe.gradients(x, y)[0]))
    scale = max(float(np.nanmax(np.abs(first))), 1e-30)
    difference = max(float(np.nanmax(np.abs(one - other))) for one, other in pairs)
    reason = f"scores of the same inputs differ by {difference / scale:.1e} of their scale"
    return _check("deterministic", "pass" if difference <= _NOISE * scale else "fail", reason)


def output_range(probe: Probe) -> Check:
    """Scores that are NaN, or so large that float32 shows no differences, mask the gradient."""
    x = np.concatenate([probe.x, probe.examples])
    if not len(x):
        return _check("output-range", "pass", "no sample was classified correctly")
    logits = probe.logits(x)
    if np.isnan(logits).any():
        return _check("output-range", "fail", "the scores contain NaN")
    spread = np.ptp(logits.astype(np.float64), axis=1)
    coarse = np.spacing(np.abs(logits).max(axis=1).astype(np.float32)) > _RESOLVED * spread
    share = float(coarse.mean())
    reason = (
        f"float32 resolves the scores of {1 - share:.1%} of the samples to {_RESOLVED:g} of their "
        f"range (at least {1 - _BLIND:.0%})"
    )
    return _check("output-range", "pass" if share <= _BLIND else "fail", reason)


def gradient_present(probe: Probe) -> Check:
    """A gradient attack cannot attack a sample without a gradient."""
    blind = np.zeros(len(probe.x), dtype=bool)
    for x in (probe.x, probe.examples):
        _, gradient = probe.margin_gradients(x)
        flat = gradient.reshape(len(x), -1)
        blind |= ~np.isfinite(flat).all(axis=1) | ~flat.any(axis=1)
    share = float(blind.mean())
    reason = f"{share:.1%} of {len(blind)} samples have no usable gradient (limit {_BLIND:.0%})"
    return _check("gradient-present", "pass" if share <= _BLIND else "fail", reason)


def gradient_agrees(probe: Probe) -> Check:
    """The gradient has to predict small changes, at the inputs and elsewhere in their balls.

    A clamp often breaks that at the bounds alone, and a gradient may be honest at the inputs alone.
    """
    low, high = spread(probe.bounds, probe.x.shape)
    free = low < high
    inside = probe.ball.scatter([[probe.seed, 7, row] for row in range(len(probe.x))])
    measured: dict[str, list[str]] = {}
    for at, where in ((probe.x, "at the inputs"), (inside, "at random points of their balls")):
        edge = (at <= low) | (at >= high)
        rival, gradient = probe.margin_gradients(at)
        for values, mask in (("at a bound", edge & free), ("between the bounds", ~edge & free)):
            if mask.mean() < 0.01 * free.mean():  # too few elements to measure
                continue
            for length in (_SMALL_STEP, 1.0):
                rng = np.random.default_rng([probe.seed, 1, sum(map(len, measured.values()))])
                changes = _changes(probe, at, mask, rival, gradient, length=length, rng=rng)
                fault = _disagreement(*changes, linear=length == _SMALL_STEP)
                if fault:
                    reason = f"{where}, for values {values}, in steps of {length:g} eps: {fault}"
                    return _check("gradient-agrees", "fail", reason)
            measured.setdefault(values, []).append(where)
    return _check("gradient-agrees", "pass", _agreed(measured))


def _agreed(measured: Mapping[str, Sequence[str]]) -> str:
    """Where the gradient predicted changes; for each kind of value if that differs."""
    places = {" and ".join(where) for where in measured.values()}
    if len(places) > 1:
        listed = (f"of values {kind} {' and '.join(where)}" for kind, where in measured.items())
        return f"the gradient predicts changes {', '.join(listed)}"
    alike = f", of values {' and '.join(measured)} alike" if len(measured) > 1 else ""
    return f"the gradient predicts changes {places.pop()}{alike}"


def random_search(probe: Probe) -> Check:
    """No random point of the ball may have a smaller margin than the attack's example."""
    reached = margins(*probe.judged(probe.examples))
    ball = probe.ball
    best = np.full(len(probe.x), np.inf)
    for turn in range(_RANDOM_POINTS):
        points = ball.scatter([[probe.seed, 2, turn, row] for row in range(len(ball))])
        if ball.norm == "linf":  # corners are the furthest points
            points = ball.project(np.where(points > ball.x, ball.upper, ball.lower))
        best = np.minimum(best, margins(*probe.judged(points)))
    beaten = float((best < reached).mean())
    fooled = int((best < 0).sum())
    weak = beaten > _MISSED or fooled > 0
    reason = (
        f"{_RANDOM_POINTS} random points beat the attack on {beaten:.1%} of {len(best)} samples "
        f"(limit {_MISSED:.0%}) and fool the model on {fooled}"
        + ("; give the attack more steps or queries" if weak else "")
    )
    return _check("random-search", "fail" if weak else "pass", reason)


def _changes(
    probe: Probe,
    at: Array,
    mask: NDArray[np.bool_],
    rival: Labels,
    gradient: Array,
    *,
    length: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Real and predicted margin changes along random directions, and the range of the scores."""
    rows = np.arange(len(at))

    def margin(x: Array) -> NDArray[np.float64]:
        logits = probe.logits(x).astype(np.float64)
        return logits[rows, probe.y] - logits[rows, rival]

    here = margin(at)
    real, predicted = [], []
    for _ in range(_DIRECTIONS):
        noise = rng.standard_normal(at.shape) * mask
        if probe.attack.norm == "linf":
            noise = np.sign(noise)
        else:
            noise /= np.maximum(lengths(noise), 1e-12)
        step = length * probe.attack.eps * noise
        moved = np.clip(at + step, *probe.bounds).astype(np.float32)
        real.append(margin(moved) - here)
        product = gradient.astype(np.float64) * (moved.astype(np.float64) - at)
        predicted.append(product.reshape(len(rows), -1).sum(axis=1))
    unit = float(np.median(np.ptp(probe.logits(at).astype(np.float64), axis=1)))
    return np.stack(real, axis=1), np.stack(predicted, axis=1), unit


def _disagreement(
    real: NDArray[np.float64], predicted: NDArray[np.float64], unit: float, *, linear: bool
) -> str | None:
    size, guess = (float(np.sqrt((each**2).mean())) for each in (real, predicted))
    if not np.isfinite(guess) or not np.isfinite(size):
        return "the scores or their gradient are not finite"
    if size <= _IGNORED * unit:
        return None
    if guess < _EXPLAINED * size:
        return f"the gradient predicts {guess / size:.0%} of the change (at least {_EXPLAINED:.0%})"
    if not linear:
        return None
    correlation = float((real * predicted).mean() / (size * guess))
    if correlation < _AGREEMENT:
        return f"predicted and real change correlate by {correlation:.2f} (at least {_AGREEMENT})"
    return None


def _check(name: str, outcome: Outcome, reason: str) -> Check:
    return Check(name=name, outcome=outcome, reason=reason)
