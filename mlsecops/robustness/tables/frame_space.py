"""Space of a data frame for tree ensembles: what an attacker reaches, in the trees' own numbers.

Encoding, FrameCodes, attack → boxes and choices of the frame's columns → encoded examples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlsecops.robustness.trees.boxes import Boxes
from mlsecops.robustness.trees.space import Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.tables.encoding import Encoding
    from mlsecops.robustness.tables.frame_codes import FrameCodes

    Floats: TypeAlias = NDArray[np.float64]


@dataclass(slots=True, kw_only=True, eq=False)
class FrameSpace:
    """The rows of an Encoding, as the trees of `read_pipeline` take them."""

    encoding: Encoding
    codes: FrameCodes
    x: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.x = self.codes.matrix(self.encoding.rows)

    def ball(self, norm: Norm, eps: float) -> Boxes:
        """The numbers that an attack reaches; each column has its own radius."""
        low, high, unit = self.x.copy(), self.x.copy(), np.ones(self.x.shape[1])
        whole = np.zeros(self.x.shape[1], dtype=bool)
        ends = self.encoding.limits()
        for column, each in enumerate(self.encoding.numbers):
            radius = eps if each.eps is None else each.eps
            unit[each.place], whole[each.place] = radius / eps, each.whole
            below, above = (end[:, column] for end in ends)
            low[:, each.place] += np.maximum(below, -radius)
            high[:, each.place] += np.minimum(above, radius)
        return Boxes(
            x=self.x, low=low, high=high, radius=eps if norm == "l2" else None, unit=unit,
            whole=whole,
        )  # fmt: skip

    def choices(self) -> Sequence[Choice]:
        """What each category may become, besides what it is."""
        return [
            Choice(columns=(each.place,), values=((None,), *((c,) for c in self._codes(each))))
            for each in self.encoding.categories
        ]

    def _codes(self, each: Any) -> list[float]:
        if each.place in self.codes.categories:
            return self.codes.codes(each.place, each.values).tolist()  # type: ignore[no-any-return]
        return [np.nan if value is None else float(value) for value in each.values]

    def examples(self, rows: Floats) -> Array:
        """Encoded rows of the trees' inputs; an offset is rounded away from the input."""
        x = self.encoding.encoded
        for column, each in enumerate(self.encoding.numbers):
            offset = rows[:, each.place] - self.x[:, each.place]
            single = np.nan_to_num(offset).astype(np.float32)
            short = np.abs(single.astype(np.float64)) < np.abs(np.nan_to_num(offset))
            away = np.nextafter(single, np.where(offset > 0, np.inf, -np.inf).astype(np.float32))
            x[:, 1 + column] = np.where(short, away, single)
        for group, choice in zip(self.encoding.groups, self.encoding.categories, strict=True):
            value = rows[:, choice.place]
            moved = ~_same(value, self.x[:, choice.place])
            for number, code in enumerate(self._codes(choice), start=1):
                hit = moved & _same(value, np.full(len(value), code))
                x[np.flatnonzero(hit)[:, None], np.array(group)] = 0
                x[hit, group[number]] = 1
        return x


def _same(a: Floats, b: Floats) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return found
