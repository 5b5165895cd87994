"""Exact small patches ("words") that images of one label share at any place.

image rows → hashes of each 2 x 2 and 3 x 3 patch → images per word and label → log lift → score

A stamped patch that moves from copy to copy has the same values in each. As a bag of words, an
image holds a word or not; where it stands does not count.

Source: Csurka et al., "Visual categorization with bags of keypoints" (2004), for bags of patches;
Weinberger et al., "Feature hashing for large scale multitask learning" (2009), for the buckets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.poisoning.flat_rows import Rows, cut, every, some
from mlsecops.poisoning.image_layout import pixel_grid
from mlsecops.poisoning.rare_values import log_lifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDES: Final = (2, 3)  # values; chosen: any stamped patch holds a word of this size
_BUCKETS: Final = 2**20  # counts; chosen: 8 MB per label, few words of an image share one
_LEVELS: Final = 255  # of [0, 1]; a byte's
_AT_ONCE: Final = 512  # images; chosen: bounds the memory of their words
_LEAST: Final = 8  # contradicted rows of a label; chosen, as in `rare_values`
_SHOWN: Final = 32  # words of a label that trees see; chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchWords:
    """Words that each label's contradicted rows share.

    Attributes:
        scores: Sum of the log lifts of a label's words in a row `(n, k)`.
        held: Label → which of its strongest words each row holds `(n, words)`.
    """

    scores: NDArray[np.float32]
    held: dict[int, NDArray[np.float32]]

    def focus(self, label: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of rows for the question whether they share the label's words."""
        held = self.held.get(label)
        score = self.scores[rows, label][:, None]
        return score if held is None else np.hstack([score, held[rows]])


def patch_words(
    x: Rows, y: NDArray[np.int64], contradicted: NDArray[np.bool_], *, shape: tuple[int, ...]
) -> PatchWords | None:
    """Words of contradicted rows, or None if inputs are no images."""
    grid = pixel_grid(shape)
    if grid is None:
        return None
    scores = np.zeros((len(y), int(y.max()) + 1), dtype=np.float32)
    held: dict[int, NDArray[np.float32]] = {}
    chosen = _chosen(x, y, contradicted, grid)
    for block in every(len(y)) if chosen else []:
        for rows, row, word in _words(x, block, grid):
            for label, weights in chosen.items():
                seen = weights[word]
                scores[rows, label] += np.bincount(row, seen, len(rows)).astype(np.float32)
                _mark(held, label, weights, (rows, row, word), len(y))
    return PatchWords(scores=scores, held=held)


def _mark(
    held: dict[int, NDArray[np.float32]],
    label: int,
    weights: NDArray[np.float32],
    found: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    count: int,
) -> None:
    rows, row, word = found
    strongest = np.argsort(-weights, kind="stable")[: min(_SHOWN, int((weights > 0).sum()))]
    place = np.full(_BUCKETS, -1, dtype=np.int32)
    place[strongest] = np.arange(len(strongest))
    table = held.setdefault(label, np.zeros((count, len(strongest)), dtype=np.float32))
    shown = place[word] >= 0
    table[rows[row[shown]], place[word[shown]]] = 1


def _chosen(
    x: Rows, y: NDArray[np.int64], contradicted: NDArray[np.bool_], grid: NDArray[np.int64]
) -> dict[int, NDArray[np.float32]]:
    """Label → weight of each bucket, for labels whose contradicted rows share words."""
    sample = some(np.arange(len(y)))
    everywhere, per_label = np.zeros(_BUCKETS, dtype=np.int64), {}
    for label in np.unique(y).tolist():
        per_label[label] = _counts(x, sample[y[sample] == label], grid)
        everywhere += per_label[label]
    chosen = {}
    for label, mine in per_label.items():
        rows = np.flatnonzero((y == label) & contradicted)
        if len(rows) >= _LEAST:
            others = int((y[sample] != label).sum())
            ours = _counts(x, rows, grid)
            weights = log_lifts(ours, len(rows), everywhere - mine, others)
            if weights.any():
                chosen[label] = weights
    return chosen


def _counts(x: Rows, rows: NDArray[np.int64], grid: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images that hold each word."""
    total = np.zeros(_BUCKETS, dtype=np.int64)
    for block in cut(rows):
        for _, _, word in _words(x, block, grid):
            total += np.bincount(word, minlength=_BUCKETS)
    return total


def _words(
    x: Rows, block: NDArray[np.int64], grid: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Rows, and each word of each of them once: its row's position among them, and bucket."""
    for rows in cut(block, _AT_ONCE):
        values = np.round(x[rows][:, grid] * _LEVELS).astype(np.uint64)
        keys = [_hashed(values, side) for side in _SIDES if side <= min(grid.shape[1:])]
        words = np.sort(np.concatenate(keys, axis=1), axis=1)
        first = np.ones(words.shape, dtype=np.bool_)
        first[:, 1:] = words[:, 1:] != words[:, :-1]
        yield rows, np.nonzero(first)[0], words[first]


def _hashed(values: NDArray[np.uint64], side: int) -> NDArray[np.int64]:
    """Bucket of the patch at each place `(n, places)`, over all channels."""
    tall, wide = (each - side + 1 for each in values.shape[2:])
    key = np.full((len(values), tall, wide), side, dtype=np.uint64)
    for channel in range(values.shape[1]):
        for i in range(side):
            for j in range(side):
                part = values[:, channel, i : i + tall, j : j + wide]
                key = (key ^ part) * np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 / golden ratio
                key ^= key >> np.uint64(29)
    hashed: NDArray[Any] = key % np.uint64(_BUCKETS)
    return hashed.astype(np.int64).reshape(len(values), -1)
