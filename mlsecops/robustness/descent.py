"""How a batch is searched: projected steps on the samples that still stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.robustness.margins import is_correct, margins, runner_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks import PGD, Bounds

__all__ = ["Search", "draw", "project"]

SATURATED: Final = 8.0  # nats; beyond it 1 - p is under 4e-4 and float32 rounds its gradient away
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A PGD search on one model.

    Attributes:
        adapter: The model.
        pgd: The attack's settings.
        bounds: Smallest and largest value of an input.
        seed: Seed; with a sample's key it decides that sample's random starts.
    """

    adapter: Adapter
    pgd: PGD
    bounds: Bounds
    seed: int

    def run(self, x: Array, y: Labels, keys: Labels) -> Array:
        """Examples for one batch."""
        examples = x.copy()
        left = np.arange(len(x))
        for restart in range(self.pgd.restarts):
            found, examples[left] = self._restart(x[left], y[left], keys[left], restart)
            left = left[~found]
            if not len(left):
                break
        return examples

    def _restart(
        self, x: Array, y: Labels, keys: Labels, restart: int
    ) -> tuple[NDArray[np.bool_], Array]:
        """Which samples were seen misclassified, and where each search ended."""
        z = self._start(x, keys, restart)
        found = np.zeros(len(x), dtype=bool)
        active = np.arange(len(x))
        aim = y.copy()
        for count in range(self.pgd.steps):
            logits, grad, aim = self._ascent(z[active], y[active], aim, first=count == 0)
            if self.pgd.until == "fooled":
                stands = is_correct(logits, y[active])
                found[active[~stands]] = True
                active, grad, aim = active[stands], grad[stands], aim[stands]
                if not len(active):
                    break
            z[active] = self._stepped(z[active], x[active], grad)
        return found, z

    def _start(self, x: Array, keys: Labels, restart: int) -> Array:
        if self.pgd.start == "clean":
            return x.copy()
        shape = x.shape[1:]
        noise = np.stack(
            [draw(self.pgd, shape, [self.seed, restart, int(key)]) for key in keys]
            or [np.empty(shape)]
        )[: len(x)]
        return project(x + noise.astype(np.float32), x, pgd=self.pgd, bounds=self.bounds)

    def _ascent(
        self, z: Array, y: Labels, aim: Labels, *, first: bool
    ) -> tuple[Array, Array, Labels]:
        """Logits, a direction away from the label, and what to aim at in the next step.

        The cross-entropy of a confident model has a gradient of zero in float32. Descending the
        cross-entropy of the runner-up class instead follows the margin, which never saturates.
        """
        logits, grad = self.adapter.loss_gradient(z, aim)
        grad = np.where(_columns(aim == y, grad.ndim), grad, -grad)
        better = np.where(margins(logits, y) > SATURATED, runner_up(logits, y), y)
        if first and (redo := better != aim).any():
            _, again = self.adapter.loss_gradient(z[redo], better[redo])
            grad[redo] = np.where(_columns(better[redo] == y[redo], again.ndim), again, -again)
        return logits, grad, better

    def _stepped(self, z: Array, x: Array, grad: Array) -> Array:
        step = np.float32(self.pgd.step or 0.0)
        if self.pgd.norm == "linf":
            moved = z + step * np.sign(grad)
        else:
            moved = z + step * grad / np.maximum(_lengths(grad), _TINY)
        return project(moved, x, pgd=self.pgd, bounds=self.bounds)


def project(z: NDArray[Any], x: Array, *, pgd: Any, bounds: Bounds) -> Array:
    """Nearest point of the ball around ``x``, then of the bounds.

    For L2 clipping to the bounds moves towards ``x``, so it cannot leave the ball.
    """
    if pgd.norm == "linf":
        z = np.clip(z, x - np.float32(pgd.eps), x + np.float32(pgd.eps))
    else:
        offset = z - x
        z = x + offset * np.minimum(1.0, pgd.eps / np.maximum(_lengths(offset), _TINY))
    inside: Array = np.clip(z, *bounds).astype(np.float32)
    return inside


def draw(pgd: Any, shape: tuple[int, ...], key: list[int]) -> NDArray[np.float64]:
    """A point of the ball around zero, drawn uniformly; the key alone decides it."""
    rng = np.random.default_rng(key)
    if pgd.norm == "linf":
        return rng.uniform(-pgd.eps, pgd.eps, size=shape)
    direction = rng.standard_normal(shape)
    radius = pgd.eps * rng.uniform() ** (1.0 / max(direction.size, 1))
    point: NDArray[np.float64] = direction * (radius / max(float(np.linalg.norm(direction)), _TINY))
    return point


def _lengths(a: Array) -> Any:
    return _columns(np.linalg.norm(a.reshape(len(a), -1), axis=1), a.ndim)


def _columns(values: NDArray[Any], ndim: int) -> NDArray[Any]:
    """One value per sample, shaped to broadcast over the samples' own axes."""
    return values.reshape(-1, *(1,) * (ndim - 1))
