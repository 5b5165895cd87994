"""Inputs of an evaluation: checks of x, bounds and what attacks return.

x, attacks, bounds → `checked_inputs` → arrays; an attack's examples → `require_inside`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from mlsecops._choices import one_of, shown
from mlsecops.adapters.base import batches
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.ball import Norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack

_SLACK: Final = 1e-5  # relative; chosen: above float32 rounding of a projection


def checked_inputs(
    x: NDArray[Any], attacks: Sequence[Attack], *, seed: int, batch_size: int, bounds: Bounds
) -> tuple[Array, tuple[Array, Array]]:
    """Inputs as float32, or as the integers that they are, and bounds shaped as one input.

    Args:
        x: Inputs `(n, *shape)`.
        attacks: At least one.
        seed: At least 0.
        batch_size: At least 1.
        bounds: Numbers, or arrays that broadcast to one input (one value for each channel, say);
            equal where a value never changes.

    Raises:
        UsageError: An argument cannot be used, or x is outside the bounds.
    """
    if not attacks:
        raise UsageError("attacks: expected at least one, got none")
    if seed < 0 or batch_size < 1:
        raise UsageError(
            f"expected seed >= 0 and batch_size >= 1, got seed={seed}, batch_size={batch_size}"
        )
    if x.dtype.kind not in "iuf":
        raise UsageError(f"x: expected numeric inputs, got {x.dtype}")
    low, high = _spread(bounds, x.shape[1:])
    if not ((low <= high).all() and (low < high).any()):
        raise UsageError(
            f"bounds: expected (low, high) with low < high, equal only where a value never "
            f"changes, got {shown(bounds)}"
        )
    outside = ~((x >= low) & (x <= high))
    if outside.any():
        where = outside.any(axis=0)  # columns and pixels that are inside say nothing about it
        given = x[:, where]
        raise UsageError(
            f"x: expected values inside bounds ({low[where].min():g}, {high[where].max():g}), got "
            f"{given.min():g} to {given.max():g}; scale the inputs, or pass their bounds (bounds=, "
            "--bounds)"
        )
    kept = x if x.dtype.kind in "iu" else x.astype(np.float32, copy=False)
    return kept, (low.astype(np.float32), high.astype(np.float32))


def _spread(bounds: Bounds, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:  # noqa: PLR2004 - low and high
        raise UsageError(f"bounds: expected (low, high), got {shown(bounds)}")
    low, high = (np.asarray(bound) for bound in bounds)
    try:
        return np.broadcast_to(low, shape), np.broadcast_to(high, shape)
    except ValueError as error:
        raise UsageError(
            f"bounds: expected numbers or arrays that broadcast to one input's shape {shape}, "
            f"got {low.shape} and {high.shape}"
        ) from error


def require_inside(attack: Attack, examples: Array, x: Array, bounds: tuple[Array, Array]) -> None:
    """Refuse an attack's examples outside its ball or the bounds.

    Raises:
        UsageError: As said; the attack has an error.
    """
    one_of(f"{attack.name}: norm", attack.norm, get_args(Norm))
    low, high = (np.broadcast_to(bound, x.shape) for bound in bounds)
    order = np.inf if attack.norm == "linf" else 2
    furthest, inside = 0.0, True
    for rows in batches(len(x)):
        some = examples[rows]
        offset = (some.astype(np.float64) - x[rows]).reshape(len(some), -1)
        furthest = float(np.maximum(furthest, np.linalg.norm(offset, ord=order, axis=1).max()))
        inside &= bool(((some >= low[rows]) & (some <= high[rows])).all())
    reach = attack.eps + _SLACK * max(attack.eps, float(x.max()), -float(x.min()))
    if not (furthest <= reach and inside):
        raise UsageError(
            f"{attack.name} returned examples at a {attack.norm} distance of {furthest:.6g} with "
            f"values from {examples.min():.6g} to {examples.max():.6g}: expected at most "
            f"{attack.eps:.6g} inside {low.min():.6g} to {high.max():.6g}; correct the attack"
        )
