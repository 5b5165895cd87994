"""Unit of eps: radius of the ball against the range and the step of the data.

inputs, attacks → `eps_unit` → Check
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.robustness.report import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.robustness.attacks.base import Attack

_BINARY: Final = 1.0  # range; whole numbers that span no more are flags, in which eps is a share


def eps_unit(x: NDArray[Any], attacks: Sequence[Attack]) -> Check:
    """A radius in another unit than the inputs measures nothing.

    The check fails if the inputs are whole numbers and an Linf ball is smaller than a step of 1,
    so that it holds no other input, or if a ball is as wide as the range of all inputs.
    """
    faults = list(_faults(x, [each for each in attacks if math.isfinite(each.eps)]))
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    reason = "; ".join(faults) or f"eps fits inputs from {low:.4g} to {high:.4g}"
    return Check(name="eps-unit", outcome="fail" if faults else "pass", reason=reason)


def _faults(x: NDArray[Any], attacks: Sequence[Attack]) -> Iterator[str]:
    span = float(np.nanmax(x)) - float(np.nanmin(x))
    whole = span > _BINARY and bool((np.isnan(x) | (x == np.round(x))).all())
    for attack in attacks:
        reach = attack.eps if attack.norm == "linf" else attack.eps / math.sqrt(x[0].size)
        if whole and attack.norm == "linf" and attack.eps < 1:
            yield (
                f"{attack.name}: eps {attack.eps:.4g} is below one step of inputs that are whole "
                f"numbers with a range of {span:.4g}; give eps in their unit, "
                f"{attack.eps * span:.4g} for a share of {attack.eps:.4g}"
            )
        elif span and reach >= span:
            yield (
                f"{attack.name}: eps {attack.eps:.4g} is as wide as the whole range of the inputs, "
                f"{span:.4g}; give eps in their unit"
            )
