"""Robustness evaluation: accuracy under attack, measured from the examples.

model, x, y, attacks → examples → accuracies and self-checks → RobustnessReport
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlsecops._choices import checked, of_type
from mlsecops.adapters import adapt
from mlsecops.adapters.answers.class_names import label_columns
from mlsecops.adapters.base import held, in_batches
from mlsecops.adapters.identity import digest_of
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.base import require_samples
from mlsecops.robustness.attacks.losses import is_correct, without_abstention
from mlsecops.robustness.evaluation.batch_check import batch_invariant
from mlsecops.robustness.evaluation.black_box import black_box_stronger
from mlsecops.robustness.evaluation.distinct import distinct_rows
from mlsecops.robustness.evaluation.executor import Shard, spread_out
from mlsecops.robustness.evaluation.inputs import checked_inputs, require_inside
from mlsecops.robustness.evaluation.probe import PROBE, Probe
from mlsecops.robustness.evaluation.query_count import QueryCount
from mlsecops.robustness.evaluation.self_checks import deterministic, output_range, run_checks
from mlsecops.robustness.evaluation.state_check import fresh_copy, stateless
from mlsecops.robustness.evaluation.units import eps_unit
from mlsecops.robustness.report import Check, Figure, RobustnessReport
from mlsecops.robustness.tables.pipelines import array_trees
from mlsecops.robustness.tables.problem import FrameProblem, frame_problem
from mlsecops.robustness.tasks.problem import TaskProblem, task_problem
from mlsecops.robustness.tasks.texts import TextProblem, text_problem
from mlsecops.robustness.trees.attack import TreeAttack
from mlsecops.robustness.trees.proof import TreeProof, prover_of
from mlsecops.robustness.trees.space import ArraySpace

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.attacks.tabular import Table

    _Problem: TypeAlias = FrameProblem | TaskProblem | TextProblem


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
    attacks, wanted = _parted(attacks, problem)
    given, names = require_samples(x, y)
    inputs, bounds = checked_inputs(given, wanted, seed=seed, batch_size=batch_size, bounds=bounds)
    labels = label_columns(adapter, names)
    rows = distinct_rows(inputs, labels) if problem is None else np.arange(len(inputs))
    inputs, labels = inputs[rows], labels[rows]
    if table is not None:
        inputs = inputs.astype(np.float32)
        table.require_fits(inputs)
    fresh, model = fresh_copy(adapter) if checks else None, QueryCount.over(adapter)
    run = _Run(
        adapter=model, x=inputs, y=labels, seed=seed, batch_size=batch_size, bounds=bounds,
        table=table, executor=executor, fresh=fresh, problem=problem,
    )  # fmt: skip
    with held(adapter), np.errstate(invalid="ignore", over="ignore"):  # of infinite scores
        clean = run.clean()
        figures: dict[str, Figure] = {}
        for turn, attack in enumerate(attacks):
            done = _shifted(progress, turn * len(run.x), len(attacks) * len(run.x))
            name = _unused(attack.name, figures)
            figures[name] = replace(run.attacked(attack, clean, done), name=name)
        measured = list(figures.values())
        proof = run.proof(wanted, clean)
        if len(wanted) > len(attacks):
            _require_proof(proof)
        if proof is not None:
            free = {_unused(name, figures): each for name, each in proof.figures.items()}
            figures |= {name: replace(each, name=name) for name, each in free.items()}
        if not attacks:
            attacks, measured = wanted, [figures[each.name] for each in wanted]
        worst = _worst(clean, list(figures.values()))
        found = run.checked(attacks, measured, clean, worst, proof) if checks else ()
    arrays = {"x": given, "y": names}
    report = RobustnessReport(
        n=len(run.x),
        seed=seed,
        bounds=(float(np.min(bounds[0])), float(np.max(bounds[1]))),
        clean=clean,
        attacks=figures,
        worst=worst,
        checks=found,
        model=type(model.model).__qualname__,
        forward_passes=model.forward,
        gradient_passes=model.backward,
        model_digest=model_digest or digest_of(model_or_adapter),
        data_digest=data_digest or hash_dataset(arrays, name="evaluation").root,
        output=model.output,
        rows=rows if len(rows) < len(given) else None,
        given=len(given),
        certified=None if proof is None else proof.certified(worst),
    )
    return report if problem is None else problem.restored(report)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    adapter: QueryCount
    x: Array
    y: Labels
    seed: int
    batch_size: int
    bounds: tuple[Array, Array]
    table: Table | None
    executor: Executor | None
    fresh: Adapter | None
    problem: _Problem | None = None

    def clean(self) -> Figure:
        """Accuracy without an attack; an abstention is wrong."""
        logits = self._logits(self.x)
        column = self.adapter.abstention
        rejected = logits.argmax(axis=1) == (-1 if column is None else column)
        right = is_correct(logits, self.y) & ~rejected
        return Figure.of("clean", right, self.x.astype(np.float32))

    def figure(self, attack: Attack, examples: Array, clean: Figure) -> Figure:
        """Accuracy on examples of samples that are right without an attack."""
        logits, column = self._logits(examples), self.adapter.abstention
        y = self.y if column is None else self.y - (self.y > column)
        held = is_correct(without_abstention(logits, y, column)[0], y)
        return Figure.of(attack.name, clean.correct & held, examples, dict(attack.params))

    def _logits(self, x: Array) -> Array:
        logits = in_batches(self.adapter.logits, x, size=self.batch_size)
        if logits.ndim != 2 or self.y.max() >= logits.shape[1]:  # noqa: PLR2004 - (n, k)
            raise UsageError(
                f"y: expected labels under the model's number of classes, got {self.y.max()} "
                f"for scores shaped {logits.shape}"
            )
        return logits

    def attacked(self, attack: Attack, clean: Figure, progress: Progress | None) -> Figure:
        """Accuracy under an attack, which skips the samples that are already misclassified."""
        index = np.flatnonzero(clean.correct)
        examples = self.x.astype(np.float32)
        if len(index):
            found = self._examples(attack, index, progress)
            examples = self.x.astype(found.dtype)
            examples[index] = found
        kept, origin, bounds = examples, self.x, self.bounds
        if self.table is not None:
            self.table.require_kept(attack.name, examples, self.x)
            kept, origin, bounds = self.table.compared(examples, self.x, bounds, eps=attack.eps)
        require_inside(attack, kept, origin, bounds)
        return self.figure(attack, examples, clean)

    def _shard(self, attack: Attack, index: NDArray[np.intp]) -> Shard:
        return Shard(
            attack=attack, x=self.x[index], y=self.y[index], index=index, seed=self.seed,
            bounds=self.bounds, batch_size=self.batch_size, table=self.table,
        )  # fmt: skip

    def _examples(self, attack: Attack, index: Labels, progress: Progress | None) -> Array:
        shard = self._shard(attack, index)
        if self.executor is None:
            return shard.run(self.adapter, progress)
        return spread_out(shard, self.adapter, self.executor, progress)

    def proof(self, attacks: Sequence[Attack], clean: Figure) -> TreeProof | None:
        """What the trees of a tree ensemble prove; None for any other model."""
        if self.problem is not None:
            found = self.problem.prover()
        else:
            inputs = self.x.astype(np.float32)
            prover = prover_of(self.adapter.inner, lambda model: array_trees(model, inputs))
            space = ArraySpace(inputs=inputs, bounds=self.bounds, table=self.table)
            found = None if prover is None else (prover, space)
        if found is None:
            return None
        answers = self._logits(self.x).argmax(axis=1)
        return found[0].prove(found[1], self.y, attacks, clean, self.figure, answers=answers)

    def checked(
        self,
        attacks: Sequence[Attack],
        figures: list[Figure],
        clean: Figure,
        worst: Figure,
        proof: TreeProof | None = None,
    ) -> tuple[Check, ...]:
        rng = np.random.default_rng([self.seed, 3])
        rows = np.sort(rng.permutation(np.flatnonzero(worst.correct))[:PROBE])
        probes = [self._probe(*each, rows) for each in zip(attacks, figures, strict=True)]
        order = sorted(range(len(attacks)), key=lambda i: figures[i].accuracy)
        in_ball = [i for i in order if math.isfinite(attacks[i].eps)] or order
        white = [i for i in in_ball if probes[i].by_gradient]
        probe = probes[(white or in_ball)[0]]
        by_gradient = [probes[i] for i in white]
        if proof is None or proof.proven is None:
            checks = [*run_checks(probe, by_gradient), stateless(probe, self.fresh)]
        else:  # the bound takes the place of the search: flat scores are no fault of trees
            checks = [deterministic(probe), output_range(probe), stateless(probe, self.fresh)]
        checks += () if proof is None else proof.checks
        if self.problem is None:
            checks.append(eps_unit(self.x, attacks))
        search = probe if white and self.table is None else None
        shard, left = self._shard(probe.attack, rows), worst.hits / max(clean.hits, 1)
        others = (
            batch_invariant(probe, shard, worst.examples, left),
            black_box_stronger(attacks, figures, clean, search),
        )
        return (*checks, *(each for each in others if each is not None))

    def _probe(self, attack: Attack, figure: Figure, rows: NDArray[np.intp]) -> Probe:
        """An attack's examples of samples that every attack left."""
        table, examples, x = self.table, figure.examples[rows], self.x[rows]
        bounds = self.bounds if table is None else table.fixed(x, self.bounds)
        return Probe(
            adapter=self.adapter, attack=attack, x=x.astype(examples.dtype), y=self.y[rows],
            examples=examples, seed=self.seed, batch_size=self.batch_size, bounds=bounds,
        )  # fmt: skip


def _worst(clean: Figure, figures: list[Figure]) -> Figure:
    """Worst outcome of each sample, with the first example that was misclassified."""
    correct = clean.correct.copy()
    examples = clean.examples.copy()
    for figure in figures:
        fooled = correct & ~figure.correct
        examples[fooled] = figure.examples[fooled]
        correct &= figure.correct
    examples[correct] = figures[-1].examples[correct]
    return Figure.of("worst", correct, examples)


def _require_types(table: Any, executor: Any, progress: Any) -> None:
    """Refuse options of another type; None is left out."""
    if table is not None:
        of_type("table", table, "require_fits", "a Table")
    if executor is not None:
        of_type("executor", executor, "submit", "an Executor")
    if progress is not None:
        of_type("progress", progress, "__call__", "a function")


def _parted(
    attacks: Sequence[Attack], problem: _Problem | None
) -> tuple[Sequence[Attack], Sequence[Attack]]:
    """The attacks that are run, and these with tree attacks, which the proof runs: one a norm."""
    trees = {each.norm: each for each in attacks if isinstance(each, TreeAttack)}
    others = [each for each in attacks if not isinstance(each, TreeAttack)]
    searches = others if problem is None else problem.attacks(others)
    return searches, [*searches, *trees.values()]


def _require_proof(proof: TreeProof | None) -> None:
    """Refuse a tree attack on a model whose trees cannot be read."""
    if proof is None:
        raise UsageError(
            "attacks: trees: expected a tree ensemble of scikit-learn, XGBoost, LightGBM or "
            "CatBoost"
        )
    if proof.proven is None:
        raise UsageError(f"attacks: trees: {'; '.join(each.reason for each in proof.checks)}")


def _several(attacks: Attack | Sequence[Attack]) -> Sequence[Attack]:
    several = attacks if isinstance(attacks, Sequence) else (attacks,)
    for each in several:
        if isinstance(each, type) or not callable(getattr(each, "perturb", None)):
            raise UsageError(
                f"attacks: expected attacks such as PGD(eps=0.1), one or a list, got {each!r}"
            )
    return several


def _unused(name: str, taken: dict[str, Figure]) -> str:
    names = (name, *(f"{name}-{i}" for i in range(2, len(taken) + 2)))
    return next(candidate for candidate in names if candidate not in taken)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
