"""Class names: the labels that a model knows its columns by.

labels as the data has them, Adapter → `label_columns` → columns of the scores `(n,)`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np

from mlsecops._choices import shown
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels: TypeAlias = NDArray[np.int64]

_SHOWN: Final = 8  # names in an error message; chosen: one line


def class_names(model: Any) -> NDArray[Any] | None:
    """The labels `(k,)` behind the columns of a model or Adapter (`classes_`), or None."""
    seen: list[Any] = []
    while model is not None and not any(model is each for each in seen):
        found = getattr(model, "classes_", None)
        if isinstance(found, list | tuple):
            found = np.asarray(found)
        if isinstance(found, np.ndarray) and found.ndim == 1 and len(found):
            return found
        seen.append(model)
        model = getattr(model, "inner", getattr(model, "model", None))
    return None


def label_columns(model: Any, y: Any) -> Labels:
    """Columns of the scores for labels `(n,)`, through the model's class names where it has them.

    Args:
        model: Model or Adapter.
        y: Labels: class names, or without class names integers of at least 0.

    Raises:
        UsageError: A label is none of the model's classes, or no integer.
    """
    labels = np.asarray(y)
    names = class_names(model)
    if labels.ndim != 1:
        raise UsageError(f"y: expected one label for each sample, shape (n,), got {labels.shape}")
    if names is None:
        return _integers(labels)
    place = {_plain(name): column for column, name in enumerate(names)}
    columns = [place.get(_plain(label), -1) for label in labels]
    unknown = sorted({shown(_plain(label)) for label, at in zip(labels, columns, strict=True)
                      if at < 0})  # fmt: skip
    if unknown:
        raise UsageError(
            f"y: expected the model's classes ({_listed(list(map(str, names)))}), got "
            f"{_listed(unknown)}"
        )
    return np.asarray(columns, dtype=np.int64)


def class_column(model: Any, name: Any) -> int:
    """Column of one class, by its name or, without class names, by its number.

    Raises:
        UsageError: There is no such class.
    """
    names = class_names(model)
    if names is not None:
        found = [column for column, each in enumerate(names) if _plain(each) == _plain(name)]
        if found:
            return found[0]
        known = _listed(list(map(str, names)))
        raise UsageError(
            f"reject: expected one of the model's classes ({known}), got {shown(name)}"
        )
    if isinstance(name, bool) or not isinstance(name, int | np.integer) or name < 0:
        raise UsageError(f"reject: expected a class, its column or a callable, got {shown(name)}")
    return int(name)


def _integers(labels: NDArray[Any]) -> Labels:
    if labels.dtype.kind not in "iu":
        raise UsageError(
            f"y: expected integers, columns of the scores, got {labels.dtype}; this model has no "
            "classes_ that would map names"
        )
    if len(labels) and labels.min() < 0:
        raise UsageError(f"y: expected labels of at least 0, got {labels.min()}")
    return cast("Labels", labels.astype(np.int64))


def _plain(value: Any) -> Any:
    """A label as a Python value, so that 1, numpy's 1 and 1.0 are one label."""
    return value.item() if isinstance(value, np.generic) else value


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
