"""Joint drift: maximum mean discrepancy of all features together.

    rows (n, d) → random Fourier features → mean → squared distance of two means (MMD²) → p-value

The mean of the embedded rows represents the whole joint distribution, so no row need be kept.

Sources: Gretton et al. 2012 (maximum mean discrepancy, Gaussian kernel, median bandwidth); Rahimi
and Recht 2007 (random Fourier features). Without drift the statistic is a weighted sum of χ²,
approximated by one χ² of the same mean and variance (Satterthwaite 1946, Wilson and Hilferty 1931).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Floats
from mlsecops.drift.outliers import standardised
from mlsecops.errors import FormatRefused

_FREQUENCIES: Final = 128  # chosen: the kernel's error is about 1/√128, and a row costs 1 kB
_PAIRS: Final = 500  # distances for the median; chosen: fast, and the bandwidth need not be exact
_MOST_ROWS: Final = 10_000  # rows of a baseline; chosen: bounds the memory of a fit to 20 MB
_SAMPLE: Final = 2_000  # rows to compare; chosen: bounds the time of a comparison
_TINY: Final = 1e-6  # bandwidth or distance; chosen: keeps constant rows from a division by zero


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class JointDrift:
    """Drift of the joint distribution of all features.

    Attributes:
        rows: Number of rows compared.
        mmd: Maximum mean discrepancy, ≥ 0.
        p_value: Probability of an MMD this large without drift.
        drifted: Whether the p-value is at most alpha.
    """

    rows: int
    mmd: float
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """Mean and variance of a table's embedded rows.

    Attributes:
        frequencies: `(d, 128)` random directions, over features in units of their spread.
        center: Centre of each feature `(d,)`, which replaces missing values.
        spread: Spread of each feature `(d,)`, > 0.
        mean: Mean of the embedded rows `(256,)`.
        facts: Number of rows, trace of their covariance, and trace of its square `(3,)`.
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
        """Embed a table of rows `(n, d)`, n ≥ 2; of more than 10,000 a sample is embedded."""
        if len(rows) > _MOST_ROWS:
            rows = rows[rng.choice(len(rows), _MOST_ROWS, replace=False)]
        units = standardised(rows, center, spread)
        few = units[rng.choice(len(units), min(len(units), _PAIRS), replace=False)]
        # Distances of neighbours in a random order are a sample of all distances.
        gaps = np.linalg.norm(few - np.roll(few, 1, axis=0), axis=1)
        bandwidth = max(float(np.median(gaps)), _TINY)
        frequencies = rng.normal(size=(rows.shape[1], _FREQUENCIES)) / bandwidth
        embedded = _embed(units, frequencies)
        mean = embedded.mean(axis=0)
        covariance = np.cov(embedded, rowvar=False)
        traces = float(np.trace(covariance)), float(np.square(covariance).sum())
        facts = np.array([len(rows), *traces])
        return cls(frequencies=frequencies, center=center, spread=spread, mean=mean, facts=facts)

    def compare(self, rows: Floats, *, alpha: float, rng: np.random.Generator) -> JointDrift:
        """Compare rows `(n, d)`, n ≥ 1, with this table; more than 2,000 are sampled."""
        if len(rows) > _SAMPLE:
            rows = rows[rng.choice(len(rows), _SAMPLE, replace=False)]
        embedded = _embed(standardised(rows, self.center, self.spread), self.frequencies)
        square = float(np.square(embedded.mean(axis=0) - self.mean).sum())
        known, trace, squares = self.facts.tolist()
        expected = trace * (1 / known + 1 / len(rows))
        p_value = _tail(square, expected, degrees=trace**2 / max(squares, 1e-300))
        return JointDrift(
            rows=len(rows), mmd=math.sqrt(square), p_value=p_value, drifted=p_value <= alpha
        )

    def arrays(self) -> dict[str, Floats]:
        """Arrays to write to a file; the outlier scores hold centre and spread."""
        return {name: getattr(self, name) for name in ("frequencies", "mean", "facts")}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], *, center: Floats, spread: Floats
    ) -> Embedding:
        """Rebuild an embedding from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        width = _FREQUENCIES
        shapes = {"frequencies": (len(center), width), "mean": (2 * width,), "facts": (3,)}
        found = {name: arrays[name] for name in shapes}
        fits = (found[name].shape == shape for name, shape in shapes.items())
        if not all(fits) or not all(np.isfinite(each).all() for each in found.values()):
            raise FormatRefused("baseline: the embedding does not fit the features")
        if found["facts"][0] < 1 or (found["facts"] < 0).any():
            raise FormatRefused("baseline: the embedding has an impossible variance")
        return cls(**found, center=center, spread=spread)


def _embed(units: Floats, frequencies: Floats) -> Floats:
    """Cosines and sines of projections `(n, 256)`, of length 1."""
    turns = units @ frequencies
    embedded: Floats = np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    return embedded / math.sqrt(_FREQUENCIES)


def _tail(square: float, expected: float, *, degrees: float) -> float:
    """Probability that the statistic is larger, by its mean and degrees of freedom."""
    if expected <= 0:
        return 1.0 if square <= _TINY else 0.0
    spread = 2 / (9 * degrees)
    z = ((square / expected) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(z / math.sqrt(2)) / 2
