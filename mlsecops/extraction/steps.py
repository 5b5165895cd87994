"""Steps: the relation of each query of a client to its earlier ones.

    path of a client (projections, scores, classes), number of known queries → relate → Steps

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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.drift.inputs import Bools, Counts, Floats
from mlsecops.drift.matmul import squared_distances

__all__ = ["SAME", "QueryPath", "Steps", "join", "relate", "squares_to_earlier"]

SAME: Final = 1e-3  # of the usual spacing of inputs; chosen: above what float32 rounds off

_STEP: Final = 0.6  # of the usual spacing; chosen: further away is an unrelated query
_NEW: Final = 0.25  # of the usual spacing; chosen: frames and sensors stay below, lines do not
_STRAIGHT: Final = 0.9  # cosine of the angle between two steps; chosen: at most 26 degrees
_ALIKE: Final = 0.1  # of a movement's length; chosen: above float32's rounding, below noise
_MOVED: Final = 0.3  # of a movement's length; chosen: nearer is the same place sent once more
_MATCHES: Final = 2  # earlier movements; chosen: more of them are a scale of few values
_SIDES: Final = 0.1  # share of the other classes, or of the own; chosen: not a rare flip
_FEWEST_NEAR: Final = 5  # queries; chosen: shares of fewer say little


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryPath:
    """Queries of a client, oldest first: projections `(n, p)`, scores `(n, 3)`, classes `(n,)`."""

    points: Floats
    scores: Floats
    classes: Counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Relation of new queries of one client to its earlier ones.

    Attributes:
        kept: `(n,)` which queries are no exact repeats; all else is of these `m` only.
        classes: `(m,)` predicted classes.
        scores: `(m, 3)` distance, residual and smallness of the margin; of a step they are
            differences from the first query of its neighbourhood.
        stepped: `(m,)` which are near an earlier query.
        novelty: `(m,)` ground that a step covers, in [0, 1].
        contested: `(m,)` which are steps among queries of several classes.
        flipped: `(m,)` which are steps to another class than that of the nearest earlier query.
        straight: `(m,)` which continue the direction of the step before.
        repeated: `(m,)` which repeat an earlier movement from another place.
        path: The remembered queries and the new ones, with scores as they are.
    """

    kept: Bools
    classes: Counts
    scores: Floats
    stepped: Bools
    novelty: Floats
    contested: Bools
    flipped: Bools
    straight: Bools
    repeated: Bools
    path: QueryPath


def squares_to_earlier(points: Floats, known: Floats) -> Floats:
    """Squared distances to earlier points `(n, known + n)`, infinite for later ones."""
    gaps = squared_distances(points, np.concatenate([known, points]))
    later = np.arange(gaps.shape[1]) >= len(known) + np.arange(len(points))[:, None]
    gaps[later] = np.inf
    return np.asarray(gaps, dtype=np.float64)


def relate(path: QueryPath, gaps: Floats, *, kept: Bools, known: int, spacing: float) -> Steps:
    """Relate the queries of a path after the first `known` to those before them.

    `gaps` `(m, known + m)` are their squared distances to earlier queries; `spacing` is the usual
    distance of normal inputs, > 0.
    """
    if not gaps.size:
        gaps = np.full((len(path.classes) - known, 1), np.inf)
    near = gaps < (_STEP * spacing) ** 2
    stepped = np.asarray(near.any(axis=1))
    scores = path.scores[known:].copy()
    # A strange object stays strange when it is scanned again, and a doubtful one doubtful: only
    # the growth since the first scan is evidence.
    scores[stepped, :2] -= path.scores[near.argmax(axis=1)[stepped], :2]
    around = np.where(gaps < spacing**2, path.scores[None, : gaps.shape[1], 2], np.inf)
    scores[stepped, 2] -= around.min(axis=1)[stepped]
    differs = path.classes[known:, None] != path.classes[None, : near.shape[1]]
    nearest = gaps.argmin(axis=1)
    closest = gaps[np.arange(len(gaps)), nearest]
    return Steps(
        kept=kept,
        classes=path.classes[known:],
        scores=scores,
        stepped=stepped,
        novelty=np.minimum(closest / (_NEW * spacing) ** 2, 1.0),
        contested=_contested(near, near & differs),
        flipped=stepped & differs[np.arange(len(gaps)), nearest],
        straight=_straight(path.points[max(known - 2, 0) :])[min(known, 2) :],
        repeated=_repeated(path.points, known=known, farthest=_STEP * spacing),
        path=path,
    )


def _contested(near: Bools, other: Bools) -> Bools:
    """Queries among whose neighbours both the own class and others are frequent."""
    all_, others = near.sum(axis=1), other.sum(axis=1)
    least = np.minimum(others, all_ - others)
    return np.asarray((all_ >= _FEWEST_NEAR) & (least >= _SIDES * all_))


def _straight(path: Floats) -> Bools:
    """Points that continue the direction of the step before."""
    result = np.zeros(len(path), dtype=bool)
    ways = np.diff(path, axis=0)
    lengths = np.sqrt(np.square(ways).sum(axis=1))
    turns = (ways[1:] * ways[:-1]).sum(axis=1)
    result[2:] = turns > _STRAIGHT * np.maximum(lengths[1:] * lengths[:-1], 1e-300)
    return result


def _repeated(path: Floats, *, known: int, farthest: float) -> Bools:
    """Points after the first `known` that were reached by a movement made before.

    The movement matches one or two earlier ones, at the same lag as that of the point before; on
    a scale of few values, movements match many.
    """
    first = max(known - 1, 1)  # one more, whose lag the first new point continues
    result = np.zeros(len(path) - known, dtype=bool)
    if len(path) - first < 2:  # noqa: PLR2004 - a lag, and one that continues it
        return result
    ways = np.diff(path, axis=0)
    squares = np.square(ways).sum(axis=1)
    lengths = squares[first - 1 :]
    gaps = squares_to_earlier(ways[first - 1 :], ways[: first - 1])
    alike = gaps < _ALIKE**2 * lengths[:, None]
    count = alike.sum(axis=1)
    partner = alike.argmax(axis=1)  # a movement, which ends at the next point
    small = (lengths < farthest**2) & (count > 0) & (count <= _MATCHES)
    moved = np.square(path[first:] - path[partner + 1]).sum(axis=1) > _MOVED**2 * lengths
    lag = np.where(small & moved, np.arange(first, len(path)) - partner, 0)
    continued = (lag[1:] > 0) & (lag[1:] == lag[:-1])
    result[len(result) - len(continued) :] = continued
    return result


def join(parts: Sequence[Steps], name: str) -> NDArray[Any]:
    """One column of several clients' steps, one after the other."""
    return np.concatenate([getattr(each, name) for each in parts])
