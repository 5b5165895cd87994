"""Parallel attacks: pools of batches on an executor, each with a copy of the model.

`Shard` → `spread_out` → one task per pool → examples in the order of the samples

The examples are the same with and without an executor, since a sample's draws depend on its index.
"""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.tabular import Searched, Table
from mlsecops.robustness.evaluation.query_count import QueryCount

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """Samples to attack, with the settings of `evaluate_robustness`."""

    attack: Attack
    x: Array
    y: Labels
    index: Labels  # of each sample in its data set
    seed: int
    bounds: Bounds
    batch_size: int
    table: Table | None = None

    def run(self, adapter: Adapter, progress: Progress | None = None) -> Array:
        """Examples, in the units of the inputs."""
        z, bounds, model = self.x, self.bounds, adapter
        if self.table is not None:
            z, bounds = self.table.searched(z, bounds, eps=self.attack.eps)
            model = Searched(inner=adapter, table=self.table, eps=self.attack.eps)
        examples = self.attack.perturb(
            model, z, self.y, seed=self.seed, bounds=bounds, batch_size=self.batch_size,
            index=self.index, progress=progress,
        )  # fmt: skip
        if self.table is None:
            return examples
        return self.table.examples(examples, self.x, self.bounds, eps=self.attack.eps)


def spread_out(
    shard: Shard, adapter: QueryCount, executor: Executor, progress: Progress | None
) -> Array:
    """Examples of all pools, in the order of the samples."""
    tasks: dict[Future[tuple[Array, int, int]], slice] = {}
    size = shard.batch_size * getattr(shard.attack, "pool", 1)
    for begin in range(0, len(shard.x), size):
        rows = slice(begin, begin + size)
        part = replace(shard, x=shard.x[rows], y=shard.y[rows], index=shard.index[rows])
        tasks[executor.submit(_one, part, adapter.inner)] = rows
    examples, done = np.empty_like(shard.x), 0
    for task in as_completed(tasks):
        examples[tasks[task]], forward, backward = _result(task, adapter.inner)
        adapter.forward += forward
        adapter.backward += backward
        done += len(shard.x[tasks[task]])
        if progress is not None:
            progress(done, len(shard.x))
    return examples


def _result(task: Future[tuple[Array, int, int]], adapter: Adapter) -> tuple[Array, int, int]:
    """What a pool gives back; a model that cannot be sent to another process is refused by name."""
    try:
        return task.result()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error):
            raise
        raise UsageError(
            f"a {adapter.framework} model of type {type(adapter.model).__name__} cannot be sent to "
            f"another process: {error}; define it in a module, or use an executor of threads"
        ) from error


def _one(shard: Shard, adapter: Adapter) -> tuple[Array, int, int]:
    """Attack one pool on a copy of the model, whose mode no other thread can switch."""
    try:
        model = QueryCount.over(copy.deepcopy(adapter))
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise UsageError(
            f"a {adapter.framework} model of type {type(adapter.model).__name__} cannot be copied "
            f"for a shard: {error}; evaluate it without an executor"
        ) from error
    return shard.run(model), model.forward, model.backward
