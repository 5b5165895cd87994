"""Outlier scores of single inputs: range, reconstruction and confidence, with thresholds.

    rows (n, d), confidence (n,) → range, reconstruction, confidence scores (n,) → flags (n,)

- range: distance of a value from the baseline's range, in extents of the feature;
- reconstruction: mean square of what the baseline's principal components do not explain;
- confidence: one minus the largest probability (Hendrycks and Gimpel 2017).

Range and reconstruction are fitted on two thirds of the baseline, and their thresholds are taken
from the other third by split conformal prediction (Papadopoulos et al. 2002), so that the declared
false-positive rate holds for new inputs of the same distribution. No single score finds every
outlier, so all are reported.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.drift.matmul import product
from mlsecops.errors import FormatRefused

DETECTORS: Final = ("range", "reconstruction", "confidence")

_FARTHEST: Final = 1e6  # standard deviations or extents; chosen: clips infinities
_EXPLAINED: Final = 0.95  # share of the variance; chosen: the usual cut of a scree plot
_MAX_COMPONENTS: Final = 64  # chosen: bounds the time of a row
_MAX_ROWS: Final = 2048  # rows; chosen: bounds the time of the decomposition
_FITTED_SHARE: Final = 2 / 3  # of the rows; chosen: the other third sets the thresholds
_BLOCK: Final = 2**16  # values scored at once; chosen: what is computed of them stays in a cache
_LEAST_SPREAD: Final = 0.5  # of the median spread; chosen: near-constant features weigh little


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anomalies:
    """Outlier scores of single inputs against a baseline.

    Attributes:
        low: Smallest finite value per feature `(d,)`.
        high: Largest finite value per feature `(d,)`.
        extent: Unit of the range score per feature `(d,)`, > 0.
        complete: 1.0 for features without missing values in the baseline, else 0.0 `(d,)`.
        mean: Centre `(d,)`.
        scale: Standard deviation `(d,)`, > 0.
        components: Principal components `(c, d)`, orthonormal.
        thresholds: Largest normal score of each of `DETECTORS`, `(3,)`.
        false_positive_rate: Share of normal inputs over each threshold, in (0, 1).

    Examples:
        >>> rows, rng = np.random.default_rng(0).normal(size=(900, 4)), np.random.default_rng(1)
        >>> made = Anomalies.fit(rows, np.full(9, 0.9), false_positive_rate=0.01, rng=rng)
        >>> made.flags(np.full((1, 4), 99.0), None)["range"]
        array([ True])
    """

    low: Floats
    high: Floats
    extent: Floats
    complete: Floats
    mean: Floats
    scale: Floats
    components: Floats
    thresholds: Floats
    false_positive_rate: float

    @classmethod
    def fit(
        cls,
        rows: Floats,
        confidence: Floats,
        *,
        false_positive_rate: float,
        rng: np.random.Generator,
    ) -> Anomalies:
        """Fit the scores to normal inputs `(n, d)` and calibrate their thresholds.

        Args:
            rows: The inputs.
            confidence: `(m,)` largest probabilities of normal predictions.
            false_positive_rate: Share of normal inputs that each score may flag, in (0, 1).
            rng: Draws the two thirds.
        """
        order = rng.permutation(len(rows))
        cut = max(1, int(len(rows) * _FITTED_SHARE))
        fitted, held = rows[order[:cut]], rows[order[cut:]]
        low, high, extent = _ranges(fitted)
        mean, scale, components = _principal(fitted[:_MAX_ROWS])
        draft = cls(
            low=low,
            high=high,
            extent=extent,
            complete=np.asarray(~np.isnan(rows).any(axis=0), dtype=np.float64),
            mean=mean,
            scale=scale,
            components=components,
            thresholds=np.full(len(DETECTORS), np.inf),
            false_positive_rate=false_positive_rate,
        )
        scores = draft.scores(held, confidence)
        ordered = [conformal_threshold(scores[name], false_positive_rate) for name in DETECTORS]
        return dataclasses.replace(draft, thresholds=np.array(ordered))

    def scores(self, rows: Floats, confidence: Floats | None) -> dict[str, Floats]:
        """Scores by detector `(n,)`; a larger score is more unusual.

        Infinities and unexpected missing values in rows `(n, d)` get the highest range score; the
        confidence `(n,)` is None if the results are no probabilities.
        """
        scores = {"range": self._range(rows), "reconstruction": self.reconstruction(rows)}
        if confidence is not None:
            scores["confidence"] = 1.0 - confidence
        return scores

    def flags(self, rows: Floats, confidence: Floats | None) -> dict[str, Bools]:
        """Rows over the threshold of each detector `(n,)`."""
        limits = dict(zip(DETECTORS, self.thresholds, strict=True))
        size = max(1, _BLOCK // max(rows.shape[1], 1))
        blocks = []
        for start in range(0, max(len(rows), 1), size):
            part = slice(start, start + size)
            known = None if confidence is None else confidence[part]
            blocks.append(self.scores(rows[part], known))
        return {
            name: np.concatenate([block[name] for block in blocks]) > limits[name]
            for name in blocks[0]
        }

    def reconstruction(self, rows: Floats) -> Floats:
        """Mean square residual of each row, in variances `(n,)`."""
        standard = standardised(rows, self.mean, self.scale)
        return residual(standard, product(standard, self.components.T))

    def _range(self, rows: Floats) -> Floats:
        outside = np.maximum(self.low - rows, rows - self.high)
        outside /= self.extent
        gaps = np.isnan(outside)
        if gaps.any():
            surprising = np.where(self.complete > 0, _FARTHEST, 0.0)
            outside[gaps] = np.broadcast_to(surprising, outside.shape)[gaps]
        worst: Floats = np.minimum(outside.max(axis=1, initial=0.0), _FARTHEST)
        return worst

    def arrays(self) -> dict[str, Floats]:
        """Arrays to write to a file."""
        rate = np.array([self.false_positive_rate])
        names = [name for name in self.__slots__ if name != "false_positive_rate"]
        return {"false_positive_rate": rate} | {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], features: int) -> Anomalies:
        """Rebuild the scores from untrusted `arrays`; raises `FormatRefused` or `KeyError`."""
        facts: dict[str, Any] = {name: arrays[name] for name in cls.__slots__}
        for name in ("low", "high", "extent", "complete", "mean", "scale"):
            if facts[name].shape != (features,) or not np.isfinite(facts[name]).all():
                raise FormatRefused(
                    f"baseline: {name!r}: expected one finite number for each feature"
                )
        components = facts["components"]
        if components.shape[1:] != (features,) or not np.isfinite(components).all():
            raise FormatRefused("baseline: the principal components do not fit the features")
        if (facts["scale"] <= 0).any() or (facts["extent"] <= 0).any():
            raise FormatRefused("baseline: scales and extents must be above 0")
        if facts["thresholds"].shape != (len(DETECTORS),) or np.isnan(facts["thresholds"]).any():
            raise FormatRefused("baseline: expected one threshold for each detector")
        facts["false_positive_rate"] = float(facts["false_positive_rate"][0])
        return cls(**facts)


def conformal_threshold(scores: Floats, false_positive_rate: float) -> float:
    """Threshold that new scores of the same distribution exceed at most at the declared rate.

    The scores `(n,)` are of normal cases that nothing was fitted on; too few give infinity.
    """
    rank = math.ceil((len(scores) + 1) * (1 - false_positive_rate))
    if rank > len(scores):
        return math.inf
    return float(np.partition(scores, rank - 1)[rank - 1])


def _ranges(rows: Floats) -> tuple[Floats, Floats, Floats]:
    finite = np.isfinite(rows)
    low = np.where(finite, rows, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, rows, -np.inf).max(axis=0, initial=-np.inf)
    low, high = np.where(low > high, 0.0, low), np.where(low > high, 0.0, high)
    extent = high - low
    usual = float(np.median(extent[extent > 0])) if (extent > 0).any() else 1.0
    return low, high, np.where(extent > 0, extent, usual)


def _principal(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre, scale, and the components that explain 95 % of the variance."""
    finite = np.where(np.isfinite(rows), rows, np.nan)
    present = np.maximum((~np.isnan(finite)).sum(axis=0), 1)
    mean = np.nansum(finite, axis=0) / present
    spread = np.sqrt(np.nansum(np.square(finite - mean), axis=0) / present)
    usual = float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
    scale = np.maximum(spread, _LEAST_SPREAD * usual)
    standard = standardised(rows, mean, scale)
    _, singular, vectors = np.linalg.svd(standard, full_matrices=False)
    share = np.square(singular).cumsum() / max(float(np.square(singular).sum()), 1e-300)
    enough = int(np.searchsorted(share, _EXPLAINED)) + 1
    # With all components the residual, and so the score, would be rounding noise.
    count = min(enough, _MAX_COMPONENTS, max(1, rows.shape[1] - 1), len(vectors))
    return mean, scale, vectors[:count]


def residual(standard: Floats, explained: Floats) -> Floats:
    """Mean square of standardised rows `(n, d)` beyond their principal components `(n, c)`."""
    rest = np.square(standard).sum(axis=1) - np.square(explained).sum(axis=1)
    return np.asarray(np.maximum(rest, 0.0) / max(standard.shape[1], 1))


def standardised(rows: Floats, center: Floats, scale: Floats) -> Floats:
    """Centred and scaled rows, with missing values at the centre and infinities clipped."""
    standard: Floats = rows - center
    standard /= scale
    gaps = np.isnan(standard)
    if gaps.any():
        standard[gaps] = 0.0
    np.clip(standard, -_FARTHEST, _FARTHEST, out=standard)
    return standard
