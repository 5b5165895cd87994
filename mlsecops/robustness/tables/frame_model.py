"""The caller's model, asked about encoded rows.

encoded rows → `Encoding.decoded` → frame → `predict_proba`, `decision_function`, `predict`, or an
Adapter of the frame's numbers
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.adapters.sklearn import SklearnAdapter
from mlsecops.adapters.wrapper import Wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.robustness.tables.encoding import Encoding

_METHODS = ("predict_proba", "decision_function", "predict")


def rows_for(model: Any, encoding: Encoding) -> Callable[[Array], Any]:
    """Decoding for a model: a frame, or its numbers for one that was fitted without names."""
    rows = encoding.rows
    nameless = (
        hasattr(model, "n_features_in_")
        and not hasattr(model, "feature_names_in_")
        and all(rows.is_number(place) for place in range(len(rows.names)))
    )
    if not nameless:
        return encoding.decoded
    return lambda x: np.asarray(encoding.decoded(x), dtype=np.float64)


class FrameModel:
    """A model of data frames that takes encoded rows; it has the methods that the model has."""

    def __init__(self, model: Any, encoding: Encoding) -> None:
        self.inner, self._rows = model, rows_for(model, encoding)
        self.classes_ = getattr(model, "classes_", None)

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS or "inner" not in self.__dict__:
            raise AttributeError(name)
        method = getattr(self.inner, name)
        return lambda x: np.asarray(method(self._rows(x)))


class NumbersAdapter(Wrapped):
    """An Adapter of arrays, asked about encoded rows of a frame of numbers; no gradients."""

    __slots__ = ("encoding",)
    encoding: Encoding

    def _forwarded(self, x: Array) -> Array:
        return np.asarray(self.encoding.decoded(x), dtype=np.float32)


def frame_adapter(model: Any, encoding: Encoding) -> Adapter:
    """The Adapter of a model of frames (scikit-learn's methods) or of the frame's numbers."""
    if any(hasattr(model, name) for name in _METHODS) and not hasattr(model, "logits"):
        return SklearnAdapter(FrameModel(model, encoding))
    made = NumbersAdapter(inner=adapt(model))
    made.encoding, made.differentiable = encoding, False
    return made
