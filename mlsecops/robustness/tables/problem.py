"""Evaluation of a model of data frames, as one of float32 rows.

model, frame, Table → `FrameProblem`: Adapter, encoded rows, constraints → evaluation
report on encoded rows → `restored` → report whose examples are rows of the frame
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.report import RobustnessReport
from mlsecops.robustness.tables.columns import FrameRows, free_columns
from mlsecops.robustness.tables.encoding import EncodedTable, Encoding
from mlsecops.robustness.tables.frame_model import frame_adapter
from mlsecops.robustness.tables.frame_space import FrameSpace
from mlsecops.robustness.tables.pipelines import read_pipeline
from mlsecops.robustness.trees.proof import Prover, unwrapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack
    from mlsecops.robustness.attacks.tabular import Table
    from mlsecops.robustness.trees.space import Space


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameProblem:
    """A frame's evaluation.

    Attributes:
        model: The caller's model.
        encoding: The distinct rows of the frame, encoded.
        y: Their labels `(n,)`.
        kept: Place of each distinct row among those given `(n,)`.
        given: Rows given.
        digest: Digest of all rows given and their labels.
        table: Constraints of the encoded rows.
    """

    model: Any
    encoding: Encoding
    y: NDArray[Any]
    kept: NDArray[np.int64]
    given: int
    digest: Digest
    table: EncodedTable

    @property
    def x(self) -> Array:
        """Encoded rows."""
        return self.encoding.encoded

    @property
    def bounds(self) -> Bounds:
        """Bounds of the encoded rows."""
        return self.encoding.bounds()

    def adapter(self) -> Adapter:
        """The model as an Adapter of encoded rows."""
        return frame_adapter(self.model, self.encoding)

    def prover(self) -> tuple[Prover, Space | None] | None:
        """The trees of the model on the frame's columns; None if it is no tree ensemble."""
        extra = {
            each.place: [value for value in each.values if value is not None]
            for each in self.encoding.categories
        }
        try:
            found = read_pipeline(unwrapped(self.model), self.encoding.rows, extra)
        except Exception as error:  # noqa: BLE001 - steps raise what they like; nothing is proven
            reason = str(error) if isinstance(error, UsageError) else repr(error)
            return Prover(ensemble=None, reason=reason), None
        if found is None:
            return None
        return Prover(ensemble=found[0]), FrameSpace(encoding=self.encoding, codes=found[1])

    def attacks(self, attacks: Sequence[Attack]) -> Sequence[Attack]:
        """The attacks as they are."""
        return attacks

    def restored(self, report: RobustnessReport) -> RobustnessReport:
        """The report with examples as rows of the frame, and counts of all rows given."""
        return report.of_caller(
            self.model, self.encoding.decoded, kept=self.kept, given=self.given,
            bounds=_range(self.encoding),
        )  # fmt: skip


def frame_problem(
    model: Any, x: Any, y: Any, table: Table | None, bounds: Any
) -> FrameProblem | None:
    """The evaluation of a data frame, or of an array with missing values; None for other inputs.

    Args:
        model: The caller's model, which takes what `x` is.
        x: Inputs.
        y: Labels `(n,)`.
        table: What an attacker may change, by column name.
        bounds: Smallest and largest value of every number, or a mapping from column to both.

    Raises:
        UsageError: A column is not there or of another kind, or labels and rows differ in number.
    """
    rows = FrameRows.of(x)
    if rows is None:
        return None
    labels = np.asarray(y)
    if labels.shape[:1] != (len(rows),) or not len(rows):
        raise UsageError(f"expected a label for each of {len(rows)} rows, got y {labels.shape}")
    kept = _distinct(rows, labels)
    mine = rows.take(kept)
    numbers, categories = free_columns(mine, table, bounds)
    encoding = Encoding(rows=mine, numbers=numbers, categories=categories)
    return FrameProblem(
        model=getattr(model, "model", model) if hasattr(model, "adapter") else model,
        encoding=encoding, y=labels[kept], kept=kept, given=len(rows),
        digest=_digest(rows, labels), table=encoding.table(),
    )  # fmt: skip


def _distinct(rows: FrameRows, y: NDArray[Any]) -> NDArray[np.int64]:
    """First occurrence of each row with its label."""
    seen: dict[Any, int] = {}
    columns = [rows.values(place) for place in range(len(rows.names))]
    labels = y.tolist()
    for number, row in enumerate(zip(*columns, strict=True)):
        seen.setdefault((*map(_plain, row), str(labels[number])), number)
    return np.array(list(seen.values()), dtype=np.int64)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def _digest(rows: FrameRows, y: NDArray[Any]) -> Digest:
    if not rows.is_frame:
        return hash_dataset({"x": rows.data, "y": y}, name="evaluation").root
    name = "label"
    while name in rows.names:
        name += "_"
    labels = y if y.ndim == 1 else [str(each) for each in y.tolist()]
    return hash_dataset(rows.data.assign(**{name: labels}), name="evaluation").root


def _range(encoding: Encoding) -> tuple[float, float]:
    """Range of the numbers that change; 0 to 1 where only categories do."""
    if not encoding.origin.size or np.isnan(encoding.origin).all():
        return 0.0, 1.0
    return float(np.nanmin(encoding.origin)), float(np.nanmax(encoding.origin))
