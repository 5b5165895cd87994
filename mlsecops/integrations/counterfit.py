"""Adapters as targets of Counterfit.

Adapter (also `mlsecops.robustness.Endpoint`), sample inputs → `CounterfitTarget`, a `CFTarget` of
Counterfit 1.1 where that is installed → `Counterfit.build_attack`, `Counterfit.run_attack`
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array

__all__ = ["CounterfitTarget", "DataType", "target"]

DataType: TypeAlias = Literal["tabular", "image"]
_IMAGE_AXES: Final = (2, 3)  # with and without channels
_REPORTS: Final = {"tabular": "TabularReportGenerator", "image": "ImageReportGenerator"}


@concise_repr("target_name", "data_type", "queries")
class CounterfitTarget:
    """A closed-box target with the members of Counterfit's `CFTarget`.

    Attributes:
        target_name: Name of the target.
        target_id: Random id of the target.
        data_type: `"tabular"` or `"image"`.
        endpoint: Address or type of the model, for reports.
        input_shape: Shape of one input.
        output_classes: Names of the classes, in the order of the scores.
        classifier: `"closed-box"`: attacks see scores alone.
        X: Sample inputs `(n, *shape)`, from which attacks start.
        logger: Counterfit's logger of the running attack, or None.
        attacks: Attacks of Counterfit's terminal, by id.
        active_attack: The attack that its terminal works on, or None.
        queries: Number of inputs so far.

    Source: Counterfit 1.1.0, `counterfit/core/targets.py`, `CFTarget`.
    """

    target_name: str
    data_type: DataType
    endpoint: str
    input_shape: tuple[int, ...]
    output_classes: list[str]
    X: Array
    model: Adapter

    def __init__(self, **members: Any) -> None:
        self.target_id = uuid.uuid4().hex[:8]
        self.classifier = "closed-box"
        self.logger: Any = None
        self.attacks: dict[str, Any] = {}
        self.active_attack: Any = None
        self.queries = 0
        for name, value in members.items():
            setattr(self, name, value)

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

    def predict_wrapper(self, x: Any, **_: Any) -> NDArray[np.float64]:
        """Class probabilities `(n, k)`, each of which the attack's logger sees."""
        output = np.asarray(self.predict(x))
        if self.logger is not None:
            labels = self.outputs_to_labels(output)
            for sample, scores in zip(np.reshape(x, (len(output), -1)), output, strict=True):
                entry = {"input": sample.tolist(), "output": scores.tolist(), "labels": labels}
                self.logger.log(entry)
        return output

    def get_samples(self, sample_index: int | Iterable[int] = 0) -> Array:
        """The sample inputs of one index or several, `(m, *shape)`."""
        chosen = list(sample_index) if isinstance(sample_index, Iterable) else [sample_index]
        return self.X[chosen]

    def get_sample_labels(self, samples: Any) -> tuple[NDArray[np.float64], list[str]]:
        """Class probabilities and class names of inputs."""
        output = self.predict_wrapper(samples)
        return output, self.outputs_to_labels(output)

    def outputs_to_labels(self, output: Any) -> list[str]:
        """Name of the most probable class of each row."""
        return [self.output_classes[i] for i in np.argmax(np.atleast_2d(output), axis=1)]

    def fullpath(self, file: str) -> str:
        """A file in the folder of results."""
        return str(Path(self.get_results_folder(), file))

    def get_results_folder(self, folder_path: str | None = None) -> str:
        """Folder for Counterfit's results, by default a temporary one of this target."""
        folder = Path(folder_path or Path(tempfile.gettempdir(), f"counterfit-{self.target_id}"))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(folder)

    def get_data_type_obj(self) -> str:
        """Name of Counterfit's report for inputs of this type."""
        return _REPORTS[self.data_type]


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

    Where Counterfit has been imported, the target is an instance of its `CFTarget` too.

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
    own = getattr(sys.modules.get("counterfit.core.targets"), "CFTarget", None)
    return _class(own)(
        target_name=name,
        data_type=kind,
        endpoint=str(getattr(adapter, "name", type(adapter.model).__name__)),
        input_shape=samples.shape[1:],
        output_classes=list(output_classes),
        X=samples,
        model=adapter,
    )


@cache
def _class(own: type | None) -> type[CounterfitTarget]:
    """The target's class, derived from Counterfit's own where that is given."""
    if own is None:
        return CounterfitTarget
    return cast("type[CounterfitTarget]", type("CounterfitTarget", (CounterfitTarget, own), {}))
