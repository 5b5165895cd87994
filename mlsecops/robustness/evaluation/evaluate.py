"""Robustness evaluation: accuracy under attack, measured from the examples.

model, x, y, attacks → examples → accuracies and self-checks → RobustnessReport
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._choices import checked, of_type
from mlsecops.adapters import adapt
from mlsecops.adapters.answers.class_names import label_columns
from mlsecops.adapters.base import held
from mlsecops.adapters.identity import digest_of
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.base import require_samples
from mlsecops.robustness.distinct import distinct_rows
from mlsecops.robustness.evaluation.evaluation_run import EvaluationRun, Problem
from mlsecops.robustness.evaluation.inputs import checked_inputs
from mlsecops.robustness.evaluation.query_count import QueryCount
from mlsecops.robustness.evaluation.state_check import fresh_copy
from mlsecops.robustness.report import RobustnessReport
from mlsecops.robustness.tables.problem import frame_problem
from mlsecops.robustness.tasks.problem import task_problem
from mlsecops.robustness.tasks.texts import text_problem
from mlsecops.robustness.trees.attack import TreeAttack

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.attacks.tabular import Table


@checked
def evaluate_robustness(
    model_or_adapter: Any,
    x: Any,
    y: Any,
    attacks: Attack | Sequence[Attack],
    *,
    seed: int = 0,
    batch_size: int = 256,
    checks: bool = True,
    bounds: Bounds = (0, 1),
    table: Table | None = None,
    tolerance: float | None = None,
    executor: Executor | None = None,
    model_digest: Digest | None = None,
    data_digest: Digest | None = None,
    progress: Progress | None = None,
) -> RobustnessReport:
    """Attack a model and measure its accuracy on the returned examples.

    Args:
        model_or_adapter: A framework's model, a LoadedModel or an Adapter; unchanged.
        x: Inputs `(n, *shape)`, inside `bounds`; integers (token ids, bytes) stay integers; a data
            frame `(n, d)`, or an array with missing values, whose model takes the like; texts, with
            `WordSubstitution`. A repeated input with the same label counts once.
        y: True labels `(n,)`: the model's class names (`classes_`), else integers in `[0, k)`; 0 or
            1 for each of several labels `(n, m)`, all of which must be right; or, with a tolerance,
            values `(n,)` or `(n, m)` of a regression.
        attacks: One attack or several, each run against every sample.
        seed: Seed of all randomness, at least 0; each sample's draws depend only on its row.
        batch_size: Samples per call of the model.
        checks: Whether to test the measurement itself; without the tests no Gate passes.
        bounds: Smallest and largest value of an input: numbers, or arrays that broadcast to
            `(*shape)`; of a data frame a mapping from column to both (by default none).
        table: What an attacker may change, if `x` is a table `(n, d)`: an eps for each column,
            categories, immutable columns.
        tolerance: Largest error of a regression that is right, in the unit of `y`.
        executor: Runs the batches, each on a copy of the model (threads, processes, a cluster);
            the examples are the same with and without.
        model_digest: Digest of the model, for the report; by default that of the LoadedModel from
            which it comes.
        data_digest: Digest of the data set; by default that of these samples and labels.
        progress: Called with (samples attacked, samples to attack over all attacks).

    Raises:
        UsageError: The data, labels, bounds or attacks cannot be used, or an attack returned an
            example outside its ball or the bounds.
    """
    model_digest = model_digest or digest_of(model_or_adapter)
    model_or_adapter = _callable(model_or_adapter)
    attacks = _several(attacks)
    _require_types(table, executor, progress)
    problem = (
        text_problem(model_or_adapter, x, y, attacks)
        or task_problem(model_or_adapter, x, y, table, bounds, tolerance=tolerance)
        or frame_problem(model_or_adapter, x, y, table, bounds)
    )
    if problem is None:
        adapter = adapt(model_or_adapter)
    else:
        adapter, table, bounds = problem.adapter(), problem.table, problem.bounds
        x, y, data_digest = problem.x, problem.y, data_digest or problem.digest
    searched, wanted = _parted(attacks, problem)
    given, names = require_samples(x, y)
    inputs, bounds = checked_inputs(given, wanted, seed=seed, batch_size=batch_size, bounds=bounds)
    labels = label_columns(adapter, names)
    rows = distinct_rows(inputs, labels) if problem is None else np.arange(len(inputs))
    inputs, labels = inputs[rows], labels[rows]
    if table is not None:
        inputs = inputs.astype(np.float32)
        table.require_fits(inputs)
    fresh, model = fresh_copy(adapter) if checks else None, QueryCount.over(adapter)
    run = EvaluationRun(
        adapter=model, x=inputs, y=labels, seed=seed, batch_size=batch_size, bounds=bounds,
        table=table, executor=executor, fresh=fresh, problem=problem, given=given[rows],
    )  # fmt: skip
    with held(adapter), np.errstate(invalid="ignore", over="ignore"):  # of infinite scores
        found = run.measure(searched, wanted, progress, checks=checks)
    report = RobustnessReport(
        n=len(run.x),
        seed=seed,
        bounds=(float(np.min(bounds[0])), float(np.max(bounds[1]))),
        clean=found.clean,
        attacks=found.figures,
        worst=found.worst,
        checks=found.checks,
        model=type(model.model).__qualname__,
        forward_passes=model.forward,
        gradient_passes=model.backward,
        model_digest=model_digest,
        data_digest=data_digest or hash_dataset({"x": given, "y": names}, name="evaluation").root,
        output=model.output,
        rows=rows if len(rows) < len(given) else None,
        given=len(given),
        certified=None if found.proof is None else found.proof.certified(found.worst),
    )
    return report if problem is None else problem.restored(report)


def _callable(model: Any) -> Any:
    """The model of a LoadedModel that has no Adapter, such as a regression; any other as it is."""
    loaded = hasattr(model, "adapter") and hasattr(model, "model")
    return model.model if loaded and model.adapter is None else model


def _require_types(table: Any, executor: Any, progress: Any) -> None:
    """Refuse options of another type; None is left out."""
    if table is not None:
        of_type("table", table, "require_fits", "a Table")
    if executor is not None:
        of_type("executor", executor, "submit", "an Executor")
    if progress is not None:
        of_type("progress", progress, "__call__", "a function")


def _parted(
    attacks: Sequence[Attack], problem: Problem | None
) -> tuple[Sequence[Attack], Sequence[Attack]]:
    """The attacks that are run, and these with tree attacks, which the proof runs: one a norm."""
    trees = {each.norm: each for each in attacks if isinstance(each, TreeAttack)}
    others = [each for each in attacks if not isinstance(each, TreeAttack)]
    searches = others if problem is None else problem.attacks(others)
    return searches, [*searches, *trees.values()]


def _several(attacks: Attack | Sequence[Attack]) -> Sequence[Attack]:
    one = isinstance(attacks, str) or not isinstance(attacks, Sequence)
    several: Sequence[Attack] = (attacks,) if one else attacks  # type: ignore[assignment]
    for each in several:
        if isinstance(each, type) or not callable(getattr(each, "perturb", None)):
            raise UsageError(
                f"attacks: expected attacks such as PGD(eps=0.1), one or a list, or "
                f"suite('quick', eps=0.1), got {each!r}"
            )
    return several
