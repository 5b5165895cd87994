"""Adapters as targets of Counterfit.

Adapter (also `mlsecops.robustness.Endpoint`), sample inputs → `CounterfitTarget` with the members
of Counterfit's `CFTarget`, of which attacks call `predict` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, cast

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

__all__ = ["CounterfitTarget", "DataType", "target"]

DataType: TypeAlias = Literal["tabular", "image"]
_IMAGE_AXES: Final = (2, 3)  # with and without channels


@concise_repr()
@dataclass(slots=True, kw_only=True, eq=False)
class CounterfitTarget:
    """A closed-box target with the members of Counterfit's `CFTarget`.

    Attributes:
        target_name: Name of the target.
        data_type: `"tabular"` or `"image"`.
        endpoint: Address or type of the model, for reports.
        input_shape: Shape of one input.
        output_classes: Names of the classes, in the order of the scores.
        X: Sample inputs `(n, *shape)`, from which attacks start.
        classifier: `"closed-box"`: attacks see scores alone.
        queries: Number of inputs so far.

    Source: Counterfit 1.1, `CFTarget`.
    """

    classifier: ClassVar[str] = "closed-box"

    target_name: str
    data_type: DataType
    endpoint: str
    input_shape: tuple[int, ...]
    output_classes: list[str]
    X: Array  # Counterfit's name
    model: Adapter = field(repr=False)
    queries: int = 0

    def load(self) -> None:
        """Do nothing, since the model is loaded."""

    def predict(self, x: Any) -> list[list[float]]:
        """Class probabilities of each input, as lists.

        Raises:
            UsageError: The inputs have another shape.
        """
        rows = np.asarray(x, dtype=np.float32)
        if rows.size % int(np.prod(self.input_shape)):
            raise UsageError(
                f"{self.target_name}: expected inputs of shape {self.input_shape}, got {rows.shape}"
            )
        rows = rows.reshape(-1, *self.input_shape)
        self.queries += len(rows)
        return cast("list[list[float]]", self.model.predict(rows).tolist())


@checked
def target(
    model: Any,
    x: Any,
    *,
    name: str,
    output_classes: Sequence[str],
    data_type: DataType | None = None,
) -> CounterfitTarget:
    """Make a Counterfit target of a model or Adapter.

    Args:
        model: A model for `mlsecops.adapters.adapt`, or an Adapter.
        x: Sample inputs `(n, *shape)`.
        name: Name of the target.
        output_classes: Names of the classes, in the order of the model's scores.
        data_type: `"tabular"` or `"image"`; by default an image if an input has two or three axes.

    Raises:
        UsageError: There are no samples, fewer than two classes, or the type is unknown.
    """
    samples = np.asarray(x, dtype=np.float32)
    if samples.ndim < 2 or not len(samples) or len(output_classes) < 2:  # noqa: PLR2004 - axes, classes
        raise UsageError(
            f"{name}: expected samples of shape (n, *shape), n >= 1, and at least two classes, got "
            f"{samples.shape} and {list(output_classes)}"
        )
    kind = data_type or ("image" if samples.ndim - 1 in _IMAGE_AXES else "tabular")
    adapter = adapt(model)
    return CounterfitTarget(
        target_name=name,
        data_type=kind,
        endpoint=str(getattr(adapter, "name", type(adapter.model).__name__)),
        input_shape=samples.shape[1:],
        output_classes=list(output_classes),
        X=samples,
        model=adapter,
    )
