"""How Counterfit sees a model of ours.

An Adapter (an `mlsecops.robustness.Endpoint` too) and sample inputs go in, an object with
what Counterfit's `CFTarget` has comes out: its attacks ask `predict` and see nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, get_args

from mlsecops.adapters import Adapter, adapt
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

__all__ = ["CounterfitTarget", "DataType", "target"]

DataType: TypeAlias = Literal["tabular", "image"]
_IMAGE_AXES: Final = (2, 3)  # with and without channels


@dataclass(slots=True, kw_only=True, eq=False)
class CounterfitTarget:
    """A target in Counterfit's shape; `load` has nothing to do, the model is there already.

    Attributes:
        target_name: What it is called.
        data_type: `"tabular"` or `"image"`.
        endpoint: Where it answers, for Counterfit's reports.
        input_shape: Shape of one input.
        output_classes: Name of each class, in the order of the scores.
        X: Sample inputs `(n, *shape)`, which attacks start from.
        classifier: `"closed-box"`: attacks see scores and nothing else.
        queries: Inputs that were asked so far.

    Source:
        Counterfit 1.1, `CFTarget`.
    """

    classifier: ClassVar[str] = "closed-box"

    target_name: str
    data_type: DataType
    endpoint: str
    input_shape: tuple[int, ...]
    output_classes: list[str]
    X: Array  # Counterfit's own name
    model: Adapter = field(repr=False)
    queries: int = 0

    def load(self) -> None:
        """Do nothing: the model was loaded and verified before."""

    def predict(self, x: Any) -> list[list[float]]:
        """Class probabilities of each input, as lists.

        Raises:
            UsageError: The inputs do not have the target's shape.
        """
        import numpy as np  # noqa: PLC0415 - only where arrays are made

        rows = np.asarray(x, dtype=np.float32)
        if rows.size % int(np.prod(self.input_shape)):
            raise UsageError(
                f"{self.target_name}: expected inputs of shape {self.input_shape}, got {rows.shape}"
            )
        rows = rows.reshape(-1, *self.input_shape)
        self.queries += len(rows)
        answers: list[list[float]] = self.model.predict(rows).tolist()
        return answers


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
        model: What `mlsecops.adapters.adapt` takes, or an Adapter.
        x: Sample inputs `(n, *shape)`.
        name: What to call the target.
        output_classes: Name of each class, in the order of the model's scores.
        data_type: `"tabular"` or `"image"`; by default an image where an input has two or three
            axes.

    Raises:
        UsageError: There are no samples, no classes, or no such type.
    """
    import numpy as np  # noqa: PLC0415 - only where arrays are made

    samples = np.asarray(x, dtype=np.float32)
    if samples.ndim < 2 or not len(samples) or len(output_classes) < 2:  # noqa: PLR2004 - axes, classes
        raise UsageError(
            f"{name}: expected samples of shape (n, *shape), n >= 1, and at least two classes, got "
            f"{samples.shape} and {list(output_classes)}"
        )
    kind = data_type or ("image" if samples.ndim - 1 in _IMAGE_AXES else "tabular")
    if kind not in get_args(DataType):
        raise UsageError(f"{name}: data_type {kind!r}: expected {' or '.join(get_args(DataType))}")
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
