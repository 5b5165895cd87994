"""Steps: the relation of each query of a client to its earlier ones.

    paths of clients (projections, scores, classes), their new queries → relate → Steps

A query near an earlier one of the same client is a *step*: honest clients take steps when they
film an object, poll a sensor or send an edited record again, attackers when they follow a gradient,
a line or the decision boundary. Each relation is one that asking more often does not produce:

- *novelty*: how far a step leads from all earlier queries. A camera with twice the frames takes
  twice the steps of half the length, and covers the same ground.
- *contested*: the neighbourhood lies on both sides of a decision boundary.
- *repeated*: the client moves as it moved once before, from another place. Noise, cameras and
  sensors do not repeat a movement exactly; an attack that shifts a set of points together does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Bools, Counts, Floats
from mlsecops.extraction.distance_blocks import DistanceBlock, blocks
from mlsecops.extraction.segments import Segments

__all__ = ["QueryPaths", "Steps", "relate"]

_SAME: Final = 1e-3  # of the usual spacing of inputs; chosen: above what float32 rounds off
_STEP: Final = 0.6  # of the usual spacing; chosen: further away is an unrelated query
_NEW: Final = 0.25  # of the usual spacing; chosen: frames and sensors stay below, lines do not
_STRAIGHT: Final = 0.9  # cosine of the angle between two steps; chosen: at most 26 degrees
_ALIKE: Final = 0.1  # of a movement's length; chosen: above float32's rounding, below noise
_MOVED: Final = 0.3  # of a movement's length; chosen: nearer is the same place sent once more
_MATCHES: Final = 2  # earlier movements; chosen: more of them are a scale of few values
_SIDES: Final = 0.1  # share of the other classes, or of the own; chosen: not a rare flip
_FEWEST_NEAR: Final = 5  # queries; chosen: shares of fewer say little


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryPaths:
    """Queries of clients, one client after the other, each oldest first.

    Attributes:
        points: Projections `(n, p)`, rounded as they are stored.
        scores: Distance, residual and smallness of the margin `(n, 3)`.
        classes: Predicted classes `(n,)`.
        clients: Which queries are of which client.
        known: Number of earlier queries of each client; the others are new.
    """

    points: NDArray[np.float32]
    scores: Floats
    classes: Counts
    clients: Segments
    known: Counts

    @property
    def new(self) -> Segments:
        """The new queries of each client."""
        return Segments(self.clients.begins + self.known, self.clients.ends)

    def at(self, places: Counts) -> Floats:
        """Projections of some queries, as float64."""
        return self.points[places].astype(np.float64)

    def only(self, kept: Bools) -> QueryPaths:
        """Some of the queries, among them all known ones."""
        if kept.all():
            return self
        return QueryPaths(
            points=self.points[kept],
            scores=self.scores[kept],
            classes=self.classes[kept],
            clients=self.clients.only(kept),
            known=self.known,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Relation of new queries of clients to the earlier ones of the same client.

    Attributes:
        kept: `(n,)` which queries are no exact repeats; all else is of these `m` only.
        clients: Which of them are of which client.
        classes: `(m,)` predicted classes.
        scores: `(m, 3)` distance, residual and smallness of the margin; of a step they are
            differences from the first query of its neighbourhood.
        stepped: `(m,)` which are near an earlier query.
        novelty: `(m,)` ground that a step covers, in [0, 1].
        contested: `(m,)` which are steps among queries of several classes.
        flipped: `(m,)` which are steps to another class than that of the nearest earlier query.
        straight: `(m,)` which continue the direction of the step before.
        repeated: `(m,)` which repeat an earlier movement from another place.
        paths: The remembered queries and the new ones, with scores as they are.
    """

    kept: Bools
    clients: Segments
    classes: Counts
    scores: Floats
    stepped: Bools
    novelty: Floats
    contested: Bools
    flipped: Bools
    straight: Bools
    repeated: Bools
    paths: QueryPaths


def relate(paths: QueryPaths, *, spacing: float) -> Steps:
    """Relate the new queries of each client to those before them.

    `spacing` is the usual distance of normal inputs, > 0.
    """
    new = paths.new
    rows, near = new.places, _Neighbourhoods(paths, spacing)
    for block in blocks(paths.at, rows, np.repeat(paths.clients.begins, new.sizes)):
        near.add(block)
    kept, stepped = ~near.dropped[rows], near.stepped
    scores = paths.scores[rows]
    # A strange object stays strange when it is scanned again, and a doubtful one doubtful: only
    # the growth since the first scan is evidence.
    scores[stepped, :2] -= paths.scores[near.origin[stepped], :2]
    scores[stepped, 2] -= near.doubt[stepped]
    left = paths.only(~near.dropped)
    straight, repeated = _movements(left, farthest=_STEP * spacing)
    return Steps(
        kept=kept,
        clients=Segments.of(left.clients.sizes - left.known),
        classes=paths.classes[rows][kept],
        scores=scores[kept],
        stepped=stepped[kept],
        novelty=np.minimum(near.closest[kept] / (_NEW * spacing) ** 2, 1.0),
        contested=near.contested[kept],
        flipped=(stepped & (paths.classes[rows] != paths.classes[near.nearest]))[kept],
        straight=straight,
        repeated=repeated,
        paths=left,
    )


class _Neighbourhoods:
    """What is near each new query among the earlier ones of its client.

    Attributes:
        dropped: `(n,)` which queries of the paths repeat an earlier one exactly.
        repeats: Whether any does.
        closest: `(m,)` squared distance of each new query to the nearest earlier one.
        nearest: `(m,)` that one.
        stepped: `(m,)` which are near an earlier one and do not repeat it.
        origin: `(m,)` the first one near a step.
        doubt: `(m,)` smallness of the margin of the least doubtful one around a step.
        contested: `(m,)` which steps have neighbours of the own class and of others.
    """

    def __init__(self, paths: QueryPaths, spacing: float) -> None:
        self._paths = paths
        self._spacing = spacing
        count = len(paths.classes) - int(paths.known.sum())
        self.dropped, self.repeats = np.zeros(len(paths.classes), dtype=bool), False
        self.closest = np.full(count, np.inf)
        self.nearest, self.origin = np.zeros((2, count), dtype=np.int64)
        self.stepped, self.contested = np.zeros((2, count), dtype=bool)
        self.doubt = np.zeros(count)

    def add(self, block: DistanceBlock) -> None:
        """Add the rows of a block; earlier rows of their clients were added before."""
        nearest, closest = _least(block.gaps)
        repeats = closest <= (_SAME * self._spacing) ** 2
        self.repeats = self.repeats or bool(repeats.any())
        if self.repeats:
            self.dropped[block.rows] = repeats
            np.copyto(block.gaps, np.inf, where=self.dropped[block.columns][:, None])
            nearest, closest = _least(block.gaps)
        self.closest[block.places] = np.maximum(closest, 0.0)
        self.nearest[block.places] = np.take_along_axis(block.columns, nearest, axis=1)
        steps = (closest < (_STEP * self._spacing) ** 2) & ~repeats
        self.stepped[block.places] = steps
        if steps.any():
            self._around(block, *np.nonzero(steps))

    def _around(self, block: DistanceBlock, parts: Counts, heights: Counts) -> None:
        """Compare steps with what is around them."""
        gaps, places = block.gaps[parts, heights], block.places[parts, heights]
        near = gaps < (_STEP * self._spacing) ** 2
        self.origin[places] = block.columns[parts, near.argmax(axis=1)]
        margins = self._paths.scores[block.columns, 2][parts]
        around = np.where(gaps < self._spacing**2, margins, np.inf)
        self.doubt[places] = around.min(axis=1)
        classes, own = self._paths.classes, block.rows[parts, heights]
        other = near & (classes[block.columns][parts] != classes[own][:, None])
        self.contested[places] = _contested(near, other)


def _least(gaps: Floats) -> tuple[Counts, Floats]:
    """The place and the value of the smallest distance of each row `(t, r)`."""
    places: Any = gaps.argmin(axis=2)
    return places, np.take_along_axis(gaps, places[:, :, None], axis=2)[:, :, 0]


def _contested(near: Bools, other: Bools) -> Bools:
    """Queries among whose neighbours both the own class and others are frequent."""
    all_, others = np.count_nonzero(near, axis=1), np.count_nonzero(other, axis=1)
    least = np.minimum(others, all_ - others)
    return np.asarray((all_ >= _FEWEST_NEAR) & (least >= _SIDES * all_))


def _movements(paths: QueryPaths, *, farthest: float) -> tuple[Bools, Bools]:
    """New queries that continue the direction of the movement before, or repeat an earlier one.

    A movement is repeated if it matches one or two earlier ones, at the same lag as the movement
    before; on a scale of few values, movements match many.
    """
    # A movement ends at its query. One known query more: the first new one continues its way.
    new, begins = paths.new, paths.clients.begins + 1
    ends = Segments(np.maximum(new.begins - 1, begins), np.maximum(paths.clients.ends, begins))
    rows = ends.places
    follows = np.zeros(len(rows), dtype=bool)
    follows[1:] = rows[1:] - rows[:-1] == 1
    ways = paths.at(rows) - paths.at(rows - 1)
    squares = np.square(ways).sum(axis=1)
    small = squares < farthest**2
    tried = follows & small & _shifted(small)
    tried[:-1] |= tried[1:]
    lags = np.zeros(len(rows), dtype=np.int64)
    if tried.any():
        firsts = np.repeat(begins, ends.sizes)[tried]
        lags[tried] = _lags(paths, rows[tried], firsts, squares[tried])
    found = np.zeros((2, len(paths.classes)), dtype=bool)
    found[0, rows] = follows & _straight(ways, squares)
    found[1, rows] = follows & (lags > 0) & (lags == _shifted(lags))
    straight, repeated = found[:, new.places]
    return straight, repeated


def _shifted(values: NDArray[Any]) -> NDArray[Any]:
    """The value before each value."""
    return np.concatenate([values[:1], values[:-1]])


def _straight(ways: Floats, squares: Floats) -> Bools:
    """Movements `(n, p)` in the direction of the one before; `squares` are of their lengths."""
    result, lengths = np.zeros(len(ways), dtype=bool), np.sqrt(squares)
    turns = (ways[1:] * ways[:-1]).sum(axis=1)
    result[1:] = turns > _STRAIGHT * np.maximum(lengths[1:] * lengths[:-1], 1e-300)
    return result


def _lags(paths: QueryPaths, rows: Counts, begins: Counts, lengths: Floats) -> Counts:
    """Number of queries since the movement that each row's movement repeats, or 0."""
    lags = np.zeros(len(rows), dtype=np.int64)

    def movements(ends: Counts) -> Floats:
        return paths.at(ends) - paths.at(ends - 1)

    for block in blocks(movements, rows, begins):
        alike = block.gaps < _ALIKE**2 * lengths[block.places][:, :, None]
        count = np.count_nonzero(alike, axis=2)
        partner = np.take_along_axis(block.columns, alike.argmax(axis=2), axis=1)
        between = np.square(paths.at(block.rows) - paths.at(partner)).sum(axis=2)
        moved = between > _MOVED**2 * lengths[block.places]
        repeats = (count > 0) & (count <= _MATCHES) & moved
        lags[block.places] = np.where(repeats, block.rows - partner, 0)
    return lags
