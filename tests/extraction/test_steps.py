from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mlsecops.extraction.distance_blocks import blocks
from mlsecops.extraction.segments import Segments
from mlsecops.extraction.steps import QueryPaths, Steps, relate

SIZES = (1, 2, 7, 33, 64, 65, 200, 300)


def walks(rng: np.random.Generator, size: int) -> np.ndarray:
    """Queries of one client: far jumps, small steps, exact repeats and repeated movements."""
    points = rng.normal(size=(size, 5))
    for place in range(1, size):
        kind = rng.integers(4)
        if kind == 1:
            points[place] = points[rng.integers(place)]
        elif kind == 2:
            points[place] = points[place - 1] + rng.normal(scale=0.05, size=5)
        elif kind == 3:
            way = points[place - 1] - points[max(place - 2, 0)]
            points[place] = points[place - 1] + way
    if size > 50:
        points[20:30] = points[20] + rng.normal(scale=0.1, size=(10, 5)).cumsum(axis=0)
        points[40:50] = points[20:30] + 1.0
    return points.astype(np.float32)


def paths(points: list[np.ndarray], known: list[int], rng: np.random.Generator) -> QueryPaths:
    size = sum(map(len, points))
    return QueryPaths(
        points=np.concatenate(points),
        scores=rng.normal(size=(size, 3)),
        classes=rng.integers(2, size=size),
        clients=Segments.of([len(each) for each in points]),
        known=np.array(known),
    )


def alone(made: QueryPaths, client: int) -> Steps:
    part = slice(made.clients.begins[client], made.clients.ends[client])
    return relate(
        QueryPaths(
            points=made.points[part],
            scores=made.scores[part],
            classes=made.classes[part],
            clients=Segments.of([part.stop - part.start]),
            known=made.known[[client]],
        ),
        spacing=1.0,
    )


def test_blocks_hold_the_distances_to_all_earlier_points_of_the_client_and_to_no_others() -> None:
    rng = np.random.default_rng(0)
    clients = Segments.of(SIZES)
    points = rng.normal(size=(sum(SIZES), 5))
    rows = np.flatnonzero(rng.random(len(points)) < 0.7)
    begins = np.repeat(clients.begins, clients.sizes)[rows]
    found = np.full((len(rows), len(points)), np.inf)
    for block in blocks(lambda places: points[places], rows, begins):
        assert block.gaps.size <= 2**17
        assert (block.rows == rows[block.places]).all()
        for places, columns, gaps in zip(block.places, block.columns, block.gaps, strict=True):
            earlier = np.isfinite(gaps)
            for place, own, some in zip(places, gaps, earlier, strict=True):
                found[place, columns[some]] = own[some]
    expected = np.square(points[rows][:, None] - points).sum(axis=2)
    places = np.arange(len(points))
    expected[(places < begins[:, None]) | (places >= rows[:, None])] = np.inf
    assert found == pytest.approx(expected, abs=1e-12)


def test_clients_of_any_sizes_are_related_together_as_each_one_alone() -> None:
    rng = np.random.default_rng(1)
    known = [min(size - 1, 3 * number) for number, size in enumerate(SIZES)]
    points = [walks(rng, size) for size in SIZES]
    for path, earlier in zip(points, known, strict=True):  # what is known has no repeats
        path[:earlier] = rng.normal(size=(earlier, 5))
    made = paths(points, known, rng)
    together = relate(made, spacing=1.0)
    assert not together.kept.all()
    assert together.repeated.any()
    assert together.straight.any()
    assert together.contested.any()
    news = made.new
    kept = Segments.of(news.sizes)
    for client in range(len(SIZES)):
        single = alone(made, client)
        assert (together.kept[kept.begins[client] : kept.ends[client]] == single.kept).all()
        own = slice(together.clients.begins[client], together.clients.ends[client])
        for name in ("classes", "stepped", "contested", "flipped", "straight", "repeated"):
            assert (getattr(together, name)[own] == getattr(single, name)).all()
        for name in ("scores", "novelty"):
            assert getattr(together, name)[own] == pytest.approx(getattr(single, name))


def test_steps_are_what_a_plain_search_finds() -> None:
    rng = np.random.default_rng(2)
    points = walks(rng, 150)
    found = relate(paths([points], [0], rng), spacing=1.0)
    seen: list[np.ndarray] = []
    kept, stepped, straight = [], [], []
    for point in points.astype(np.float64):
        gaps = [float(np.linalg.norm(point - each)) for each in seen]
        kept.append(min(gaps, default=np.inf) > 1e-3)
        if not kept[-1]:
            continue
        stepped.append(min(gaps, default=np.inf) < 0.6)
        seen.append(point)
        ways = np.diff(seen[-3:], axis=0)
        straight.append(
            len(ways) == 2
            and bool(ways[0] @ ways[1] > 0.9 * np.linalg.norm(ways[0]) * np.linalg.norm(ways[1]))
        )
    assert found.kept.tolist() == kept
    assert found.stepped.tolist() == stepped
    assert found.straight.tolist() == straight


def test_memory_does_not_grow_with_the_square_of_one_clients_queries() -> None:
    rng = np.random.default_rng(3)
    made = paths([rng.normal(size=(4096, 5)).astype(np.float32)], [0], rng)
    tracemalloc.start()
    relate(made, spacing=1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096**2  # a byte for each pair; all distances at once would take eight
