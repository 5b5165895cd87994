from __future__ import annotations

import numpy as np
import pytest

from mlsecops.monitoring.calls.batches import TABLE_ROWS, BatchSize, uniform_runs
from mlsecops.monitoring.queue import CallRecord


def call(inputs: object) -> CallRecord:
    return CallRecord(0.0, 0.0, "ok", "", None, None, inputs, np.array([0.4, 0.6]))


def lengths(inputs: object, calls: int) -> list[int]:
    return [len(run) for run in uniform_runs([call(inputs)] * calls)]


@pytest.mark.parametrize(("features", "rows"), [(50, 4096), (1024, 512), (150_528, TABLE_ROWS)])
def test_a_table_is_as_long_as_its_memory_allows(features: int, rows: int) -> None:
    wide = np.broadcast_to(np.float32(0), features)
    assert lengths(wide, 5000)[0] == rows
    assert sum(lengths(wide, 5000)) == 5000


def test_what_cannot_be_stacked_is_read_in_short_runs() -> None:
    assert lengths([1.0, 2.0], 600) == [256, 256, 88]


def test_more_is_taken_at_once_while_that_is_brief() -> None:
    size = BatchSize()
    for _ in range(10):
        size.learn(size.events, 0.001)
    assert size.events == 4096
    size.learn(10, 0.001)
    assert size.events == 4096


def test_few_events_say_nothing_about_many() -> None:
    size = BatchSize()
    size.learn(10, 0.001)
    assert size.events == TABLE_ROWS


def test_less_is_taken_at_once_when_it_takes_long_but_never_next_to_nothing() -> None:
    size = BatchSize()
    size.learn(TABLE_ROWS, 0.001)
    for _ in range(5):
        size.learn(size.events, 10.0)
    assert size.events == TABLE_ROWS
