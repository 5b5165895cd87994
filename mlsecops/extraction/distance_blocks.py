"""Distances of queries to the earlier ones of their clients, in blocks of like clients.

    points, rows to compare, first point of each row's client → blocks → DistanceBlock

A call of NumPy costs about a microsecond and holds the interpreter unless its arrays are large. So
the clients of a table share their calls: some rows of each, against all earlier points of its own.
Blocks also bound the memory, however many queries one client sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops.drift.inputs import Counts, Floats
from mlsecops.drift.matmul import ALONE

__all__ = ["DistanceBlock", "blocks"]

_ROWS: Final = 64  # rows of a client in a block; chosen: more would be compared with later rows
_VALUES: Final = 2**17  # distances of a block; chosen: its arrays have 1 MiB and stay in a cache
_PADDING: Final = 2  # times the distances that are needed; chosen: fewer and fuller blocks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistanceBlock:
    """Squared distances of some rows of several clients.

    Clients with fewer rows or points than others are padded: with their last row, and with points
    at an infinite distance.

    Attributes:
        places: `(t, r)` which of the compared rows these are.
        rows: `(t, r)` the rows.
        columns: `(t, m)` points of the same client.
        gaps: `(t, r, m)` squared distances, infinite for points that are not earlier than the row.
            They may fall below zero by the rounding error.
    """

    places: Counts
    rows: Counts
    columns: Counts
    gaps: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Parts:
    """Runs of at most 64 rows of one client: their first place, number, order and points."""

    firsts: Counts
    counts: Counts
    turns: Counts
    widths: Counts


def blocks(
    points: Callable[[Counts], Floats], rows: Counts, begins: Counts
) -> Iterator[DistanceBlock]:
    """Distances of each row `(n,)` to the points of its client before it.

    The rows are ascending indices of points, and `begins` `(n,)` the first point of each one's
    client; `points` gives the coordinates `(…, p)` of indices `(…,)`. The blocks come in the order
    of time for each client.
    """
    if not len(rows):
        return
    parts = _parts(rows, begins)
    for chosen in _alike(parts):
        firsts, counts = parts.firsts[chosen], parts.counts[chosen]
        places = firsts[:, None] + np.minimum(np.arange(counts.max()), counts[:, None] - 1)
        own = rows[places]
        width = max(1, int(parts.widths[chosen].max()))
        # A point after the last row is masked like that row.
        columns = np.minimum(begins[firsts][:, None] + np.arange(width), own[:, -1:])
        gaps = _squares(points(own), points(columns))
        least = int((own[:, 0] - columns[:, 0]).min())  # every row has so many earlier points
        late = columns[:, None, least:] >= own[:, :, None]
        np.copyto(gaps[:, :, least:], np.inf, where=late)
        yield DistanceBlock(places=places, rows=own, columns=columns, gaps=gaps)


def _parts(rows: Counts, begins: Counts) -> _Parts:
    other = np.ones(len(rows), dtype=bool)
    np.not_equal(begins[1:], begins[:-1], out=other[1:])
    turns = np.arange(len(rows)) - np.flatnonzero(other)[other.cumsum() - 1]
    firsts = np.flatnonzero(turns % _ROWS == 0)
    counts = np.concatenate([firsts[1:], [len(rows)]]) - firsts
    widths = rows[firsts + counts - 1] - begins[firsts]
    return _Parts(firsts=firsts, counts=counts, turns=turns[firsts], widths=widths)


def _alike(parts: _Parts) -> Iterator[Sequence[int]]:
    """Parts of like sizes that fit in a block, earlier rows of a client before later ones."""
    order = np.lexsort((parts.widths, parts.counts, parts.turns))
    turns, counts, widths = (
        each[order].tolist() for each in (parts.turns, parts.counts, parts.widths)
    )
    chosen: list[int] = []
    turn = tallest = widest = needed = 0
    for place, part in enumerate(order.tolist()):
        tall, wide = max(tallest, counts[place]), max(widest, widths[place])
        needed += counts[place] * widths[place]
        padded = (len(chosen) + 1) * tall * wide
        if chosen and (turns[place] != turn or padded > min(_VALUES, _PADDING * needed)):
            yield chosen
            chosen, needed = [], counts[place] * widths[place]
            tall, wide = counts[place], widths[place]
        chosen.append(part)
        turn, tallest, widest = turns[place], tall, wide
    yield chosen


def _squares(rows: Floats, columns: Floats) -> Floats:
    """Squared distances `(t, r, m)` of rows `(t, r, p)` from columns `(t, m, p)`.

    The products are so small that a BLAS computes them on this thread (`mlsecops.drift.matmul`).
    """
    parts, height, size = rows.shape
    width = columns.shape[1]
    tile = max(1, ALONE // max(height * size, 1))
    gaps = np.square(rows).sum(axis=2)[:, :, None] + np.square(columns).sum(axis=2)[:, None]
    scaled = -2 * rows
    whole = width - width % tile if width > tile else 0
    if whole:
        left, right = scaled[:, None], columns[:, :whole].reshape(parts, -1, tile, size)
        made = np.matmul(left, right.swapaxes(2, 3))
        gaps[:, :, :whole] += made.swapaxes(1, 2).reshape(parts, height, whole)
    if whole < width:
        gaps[:, :, whole:] += np.matmul(scaled, columns[:, whole:].swapaxes(1, 2))
    return np.asarray(gaps, dtype=np.float64)
