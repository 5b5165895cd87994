"""Whether features moved together in another way, though each on its own looks as ever.

rows (n, d) → random Fourier features → mean → squared distance of two means (MMD²) → p-value

The mean of the embedded rows stands for the whole joint distribution, so that no row need be kept.

Sources: Gretton et al. 2012 (maximum mean discrepancy, Gaussian kernel, median bandwidth); Rahimi
and Recht 2007 (random Fourier features). Without drift the statistic is a weighted sum of χ², taken
for one χ² of the same mean and variance (Satterthwaite 1946, Wilson and Hilferty 1931).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.errors import FormatRefused

__all__ = ["Embedding", "JointDrift"]

Floats = NDArray[np.float64]

_FREQUENCIES: Final = 128
_PAIRS: Final = 500
_MOST_ROWS: Final = 10_000
_SAMPLE: Final = 2_000
_SLOWEST: Final = 1e-6
_FARTHEST: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDrift:
    """How far the joint distribution of all features has moved.

    Attributes:
        rows: Number of rows that were compared.
        mmd: Maximum mean discrepancy, ≥ 0.
        p_value: Probability of one this large without drift.
        drifted: Whether that is improbable enough.
    """

    rows: int
    mmd: float
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """Mean of a table's rows after an embedding, and how it varies.

    Attributes:
        frequencies: `(d, 128)` directions over features in units of their spread.
        center: Centre of each feature `(d,)`; a missing value lies there.
        spread: Spread of each feature `(d,)`, > 0.
        mean: Mean of the embedded rows `(256,)`.
        facts: Rows it is the mean of, trace of their covariance, and of its square.
    """

    frequencies: Floats
    center: Floats
    spread: Floats
    mean: Floats
    facts: Floats

    @classmethod
    def fit(
        cls, rows: Floats, *, center: Floats, spread: Floats, rng: np.random.Generator
    ) -> Embedding:
        """Embed a table.

        Args:
            rows: `(n, d)`, n ≥ 2.
            center: `(d,)` where a missing value lies.
            spread: `(d,)` unit of each feature, > 0.
            rng: Chooses frequencies and, of very many, the rows.
        """
        if len(rows) > _MOST_ROWS:
            rows = rows[rng.choice(len(rows), _MOST_ROWS, replace=False)]
        units = _units(rows, center, spread)
        few = units[rng.choice(len(units), min(len(units), _PAIRS), replace=False)]
        # Distances of neighbours in a random order are a sample of all distances.
        apart = np.linalg.norm(few - np.roll(few, 1, axis=0), axis=1)
        bandwidth = max(float(np.median(apart)), _SLOWEST)
        frequencies = rng.normal(size=(rows.shape[1], _FREQUENCIES)) / bandwidth
        embedded = _embed(units, frequencies)
        mean = embedded.mean(axis=0)
        covariance = np.cov(embedded, rowvar=False)
        traces = float(np.trace(covariance)), float(np.square(covariance).sum())
        facts = np.array([len(rows), *traces])
        return cls(frequencies=frequencies, center=center, spread=spread, mean=mean, facts=facts)

    def compare(self, rows: Floats, *, alpha: float, rng: np.random.Generator) -> JointDrift:
        """Compare a table's joint distribution with this one.

        Args:
            rows: `(n, d)`, n ≥ 1; of more than 2,000 a sample is compared.
            alpha: Probability of a false verdict, in (0, 1).
            rng: Chooses the sample.
        """
        if len(rows) > _SAMPLE:
            rows = rows[rng.choice(len(rows), _SAMPLE, replace=False)]
        embedded = _embed(_units(rows, self.center, self.spread), self.frequencies)
        square = float(np.square(embedded.mean(axis=0) - self.mean).sum())
        known, trace, squares = self.facts.tolist()
        expected = trace * (1 / known + 1 / len(rows))
        p_value = _tail(square, expected, degrees=trace**2 / max(squares, 1e-300))
        return JointDrift(
            rows=len(rows), mmd=math.sqrt(square), p_value=p_value, drifted=p_value <= alpha
        )

    def arrays(self) -> dict[str, Floats]:
        """Arrays for a file; centre and spread are the anomalies' own."""
        return {name: getattr(self, name) for name in ("frequencies", "mean", "facts")}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], *, center: Floats, spread: Floats
    ) -> Embedding:
        """Read back what `arrays` gave.

        Raises:
            FormatRefused: An array cannot be one of ours.
            KeyError: An array is absent.
        """
        found = {name: arrays[name] for name in ("frequencies", "mean", "facts")}
        shapes = {
            "frequencies": (len(center), _FREQUENCIES),
            "mean": (2 * _FREQUENCIES,),
            "facts": (3,),
        }
        fits = (found[name].shape == shape for name, shape in shapes.items())
        if not all(fits) or not all(np.isfinite(each).all() for each in found.values()):
            raise FormatRefused("baseline: the embedding does not fit the features")
        if found["facts"][0] < 1 or (found["facts"] < 0).any():
            raise FormatRefused("baseline: the embedding has an impossible variance")
        return cls(**found, center=center, spread=spread)


def _units(rows: Floats, center: Floats, spread: Floats) -> Floats:
    """Rows in units of the features' spread, missing values at the centre, nothing infinite."""
    units = np.where(np.isnan(rows), 0.0, (rows - center) / spread)
    return np.clip(units, -_FARTHEST, _FARTHEST)


def _embed(units: Floats, frequencies: Floats) -> Floats:
    """Cosines and sines of projections `(n, 256)`, of length 1."""
    turns = units @ frequencies
    embedded: Floats = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    return embedded / math.sqrt(_FREQUENCIES)


def _tail(square: float, expected: float, *, degrees: float) -> float:
    """Probability that the statistic is larger, by its mean and degrees of freedom."""
    if expected <= 0:
        return 1.0 if square <= _SLOWEST else 0.0
    spread = 2 / (9 * degrees)
    z = ((square / expected) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(z / math.sqrt(2)) / 2
