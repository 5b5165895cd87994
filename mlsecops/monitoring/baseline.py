"""What is normal, frozen: distributions of inputs and answers that live traffic is compared with.

x (n, …), probabilities (n, k), labels (n,) → Baseline.fit → drift, anomalies, confidence, accuracy
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._files import write_atomically
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.monitoring.anomalies import Anomalies
from mlsecops.monitoring.drift import DriftReport, Sample, exact_ks, report
from mlsecops.monitoring.packing import pack, read, unpack
from mlsecops.monitoring.profile import Layout, Profile, checked_edges

__all__ = ["Baseline"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_KIND: Final = "baseline"
_MAX_NUMBERS: Final = 2**23
_MAX_ROWS: Final = 10_000
_EDGES: Final = 64
_MAX_CATEGORIES: Final = 1024
_NONE: Final = -1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Reference distributions of a model's inputs and answers.

    Built by ``fit`` or ``load``. It keeps a sorted sample of every feature on its own, so no row
    of the training data can be read from it.

    Attributes:
        names: Names of the d features.
        shape: Shape of one input (``(8, 8)``), d numbers in all.
        rows: Number of rows it was fitted on.
        categorical: ``(d,)`` which features have no order.
        sample: ``(d, m)`` sorted values of each feature, NaN last.
        layout: Bins of the profiles.
        anomalies: Scores of single inputs.
        confidences: Sorted confidences ``(m,)``; empty if there were no probabilities.
        classes: Share of each predicted class ``(k,)``; empty likewise.
        accuracy: Accuracy on the labels, or None without labels.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    rows: int
    categorical: NDArray[np.bool_]
    sample: Floats
    layout: Layout
    anomalies: Anomalies
    confidences: Floats
    classes: Floats
    accuracy: float | None

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        probabilities: ArrayLike | None,
        labels: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        categorical: Iterable[str | int] = (),
        false_positive_rate: float = 0.01,
        seed: int = 0,
    ) -> Baseline:
        """Describe normal inputs and answers.

        Args:
            x: ``(n, …)`` numbers, one row an input, n ≥ 2; NaN is a missing value.
            probabilities: ``(n, k)`` of the model on x (best: on data it was not trained on), or
                None for a model without probabilities.
            labels: ``(n,)`` true classes, for the reference accuracy.
            names: d feature names; ``f0``, ``f1``, … by default.
            categorical: Names or indices of features whose numbers are codes without order.
            false_positive_rate: Share of ordinary inputs that each anomaly score may flag.
            seed: Chooses the rows that are kept, and the calibration third.

        Raises:
            UsageError: Shapes do not fit together, or x is no table of numbers.
        """
        values, shape = _table(x)
        chosen = _names(names, values.shape[1])
        codes = _mask(categorical, chosen)
        rng = np.random.default_rng(seed)
        answers = _answers(probabilities, len(values))
        confidence = answers.max(axis=1) if answers.size else np.empty(0)
        predicted = answers.argmax(axis=1) if answers.size else np.empty(0, dtype=np.int64)
        kept = _kept(values, rng)
        sample = np.sort(kept, axis=0).T.copy()
        return cls(
            names=chosen,
            shape=shape,
            rows=len(values),
            categorical=codes,
            sample=sample,
            layout=Layout(names=chosen, edges=_edges(sample, codes)),
            anomalies=Anomalies.fit(
                values, confidence, false_positive_rate=_rate(false_positive_rate), rng=rng
            ),
            confidences=np.sort(confidence),
            classes=np.bincount(predicted, minlength=answers.shape[1]) / max(len(predicted), 1),
            accuracy=_accuracy(predicted, labels),
        )

    @property
    def confidence(self) -> float | None:
        """Mean confidence, or None without probabilities."""
        return float(self.confidences.mean()) if len(self.confidences) else None

    def profile(self) -> Profile:
        """An empty profile with this baseline's bins."""
        return Profile(self.layout)

    def drift(
        self, rows_or_profile: ArrayLike | Profile, *, alpha: float = 0.01, effect: float = 0.05
    ) -> DriftReport:
        """Compare traffic with the baseline, feature by feature.

        Rows are compared exactly; a profile within the ``error_bound`` given with each distance.

        Args:
            rows_or_profile: ``(n, …)`` inputs, or counts of them.
            alpha: Probability of one or more false verdicts over all features, in (0, 1).
            effect: Smallest distance that matters, in [0, 1].

        Raises:
            UsageError: The rows or the profile are not of this baseline's features.
        """
        distances = None
        if isinstance(rows_or_profile, Profile):
            profile = rows_or_profile
            if profile.layout.identity != self.layout.identity:
                raise UsageError("the profile has other bins: take it from this baseline.profile()")
        else:
            rows = self.table(rows_or_profile)
            profile = self.profile().update(rows)
            distances = self._distances(rows), np.zeros(len(self.names))
        return report(
            self.names,
            self._reference,
            Sample(counts=profile.counts, missing=profile.missing),
            distances=distances,
            categorical=self.categorical,
            alpha=_rate(alpha),
            effect=effect,
        )

    def table(self, x: ArrayLike) -> Floats:
        """Inputs as rows ``(n, d)``; one input alone is one row.

        Raises:
            UsageError: They are not inputs of this baseline's shape.
        """
        values = _numbers(x)
        features = len(self.names)
        if values.shape in {self.shape, (features,)}:
            return values.reshape(1, features)
        if values.ndim > 1 and math.prod(values.shape[1:]) == features:
            return values.reshape(len(values), features)
        raise UsageError(f"inputs: expected shape (n, {self.shape}), got {values.shape}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the baseline to a file, without pickle.

        Raises:
            OSError: The file cannot be written.
        """
        facts = {
            "names": list(self.names),
            "shape": list(self.shape),
            "rows": self.rows,
            "accuracy": self.accuracy,
        }
        arrays: dict[str, NDArray[Any]] = {
            "categorical": self.categorical.astype(np.int64),
            "sample": self.sample,
            "edges": self.layout.edges,
            "confidences": self.confidences,
            "classes": self.classes,
        }
        return write_atomically(path, pack(_KIND, facts, arrays | self.anomalies.arrays()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Baseline:
        """Read a baseline; nothing in the file can run.

        Raises:
            FormatRefused: It is not a baseline, is damaged, or contradicts itself.
            LimitExceeded: It is too large.
            OSError: It cannot be read.
        """
        facts, arrays = unpack(read(path), _KIND, where=str(path))
        try:
            return cls._parse(facts, arrays)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise FormatRefused(f"{path}: malformed baseline: {error!r}") from error

    @classmethod
    def _parse(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Baseline:
        names = tuple(str(name) for name in facts["names"])
        shape = tuple(int(size) for size in facts["shape"])
        sample, confidences, classes = (
            arrays[name] for name in ("sample", "confidences", "classes")
        )
        if math.prod(shape) != len(names) or sample.ndim != 2 or len(sample) != len(names):  # noqa: PLR2004 - features by rows
            raise FormatRefused("baseline: names, shape and sample do not fit together")
        unsorted = (sample[:, 1:] < sample[:, :-1]).any() or (np.diff(confidences) < 0).any()
        if unsorted or confidences.ndim != 1 or classes.ndim != 1:
            raise FormatRefused("baseline: the samples are not sorted")
        accuracy = facts["accuracy"]
        return cls(
            names=names,
            shape=shape,
            rows=int(facts["rows"]),
            categorical=arrays["categorical"].reshape(len(names)).astype(bool),
            sample=sample.astype(np.float64, copy=False),
            layout=Layout(names=names, edges=checked_edges(arrays["edges"], len(names))),
            anomalies=Anomalies.from_arrays(arrays, len(names)),
            confidences=confidences.astype(np.float64, copy=False),
            classes=classes.astype(np.float64, copy=False),
            accuracy=None if accuracy is None else float(accuracy),
        )

    @cached_property
    def _reference(self) -> Sample:
        """The baseline's own counts."""
        counts, missing = self.layout.bin(self.sample.T)
        return Sample(counts=counts, missing=missing)

    def _distances(self, rows: Floats) -> Floats:
        """Exact distance of each feature ``(d,)``."""
        ordered = np.sort(rows, axis=0)
        window, reference = (~np.isnan(rows)).sum(axis=0), self._reference.present
        return np.array(
            [
                exact_ks(self.sample[i, : reference[i]], ordered[: window[i], i])
                for i in range(len(self.names))
            ]
        )


def _numbers(x: ArrayLike) -> Floats:
    """Numbers as float64."""
    try:
        return np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected numbers, got {type(x).__name__}: {error}") from error


def _table(x: ArrayLike) -> tuple[Floats, tuple[int, ...]]:
    """Rows ``(n, d)`` and the shape of one input."""
    values = _numbers(x)
    if values.ndim == 1:
        values = values[:, None]
    if len(values) < 2 or not values[0].size:  # noqa: PLR2004 - a distribution needs two rows
        raise UsageError(f"x: expected at least two rows of numbers, got shape {values.shape}")
    return values.reshape(len(values), -1), values.shape[1:]


def _names(names: Sequence[str] | None, features: int) -> tuple[str, ...]:
    """One distinct name for each feature."""
    chosen = (
        tuple(f"f{i}" for i in range(features)) if names is None else tuple(str(n) for n in names)
    )
    if len(chosen) != features or len(set(chosen)) != features:
        raise UsageError(f"names: expected {features} distinct names, got {len(set(chosen))}")
    return chosen


def _mask(categorical: Iterable[str | int], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which features are categorical."""
    mask = np.zeros(len(names), dtype=bool)
    for each in categorical:
        if isinstance(each, str) and each not in names:
            raise UsageError(f"categorical: no feature is called {each!r}")
        index = names.index(each) if isinstance(each, str) else each
        if not 0 <= index < len(names):
            raise UsageError(f"categorical: expected an index below {len(names)}, got {index}")
        mask[index] = True
    return mask


def _answers(probabilities: ArrayLike | None, rows: int) -> Floats:
    """Probabilities ``(n, k)``, or an empty table."""
    if probabilities is None:
        return np.empty((0, 0))
    values = _numbers(probabilities)
    if values.ndim != 2 or len(values) != rows or not np.isfinite(values).all():  # noqa: PLR2004 - rows by classes
        raise UsageError(f"probabilities: expected finite ({rows}, k), got shape {values.shape}")
    return values


def _accuracy(predicted: Counts, labels: ArrayLike | None) -> float | None:
    """Share of predictions that are right."""
    if labels is None or not len(predicted):
        return None
    truth = np.asarray(labels)
    if truth.shape != predicted.shape:
        raise UsageError(f"labels: expected shape {predicted.shape}, got {truth.shape}")
    return float((truth == predicted).mean())


def _rate(rate: float) -> float:
    """A rate strictly between 0 and 1."""
    if not 0 < rate < 1:
        raise UsageError(f"expected a rate between 0 and 1, got {rate}")
    return rate


def _kept(values: Floats, rng: np.random.Generator) -> Floats:
    """Rows that are kept: all, or a uniform choice that fits into memory."""
    limit = max(2, min(_MAX_ROWS, _MAX_NUMBERS // values.shape[1]))
    if len(values) <= limit:
        return values
    chosen = rng.choice(len(values), size=limit, replace=False)
    return np.asarray(values[chosen], dtype=np.float64)


def _edges(sample: Floats, categorical: NDArray[np.bool_]) -> Floats:
    """Values of the sample at which the distribution function is known exactly."""
    columns = [
        _chosen(row[~np.isnan(row)], _MAX_CATEGORIES if code else _EDGES)
        for row, code in zip(sample, categorical, strict=True)
    ]
    width = max(1, *(len(column) for column in columns))
    edges = np.full((len(columns), width), np.inf)
    for row, column in zip(edges, columns, strict=True):
        row[: len(column)] = column
    return edges


def _chosen(ordered: Floats, limit: int) -> Floats:
    """All distinct values if they are few, else quantiles among them."""
    distinct = np.unique(ordered)
    if len(distinct) <= limit:
        return distinct
    ranks = np.linspace(0, len(ordered) - 1, limit).round().astype(np.int64)
    return np.unique(ordered[ranks])
