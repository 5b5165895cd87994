"""One evaluation run: examples of every attack, their figures, the proof of trees, self-checks.

distinct samples, attacks → `EvaluationRun.measure` → MeasuredRun → RobustnessReport
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlsecops.adapters.base import in_batches
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.losses import is_correct, without_abstention
from mlsecops.robustness.evaluation.batch_check import batch_invariant
from mlsecops.robustness.evaluation.black_box import black_box_stronger
from mlsecops.robustness.evaluation.executor import Shard, spread_out
from mlsecops.robustness.evaluation.inputs import require_inside
from mlsecops.robustness.evaluation.probe import PROBE, Probe
from mlsecops.robustness.evaluation.query_count import QueryCount
from mlsecops.robustness.evaluation.self_checks import deterministic, output_range, run_checks
from mlsecops.robustness.evaluation.state_check import stateless
from mlsecops.robustness.evaluation.units import eps_unit
from mlsecops.robustness.report import Check, Figure
from mlsecops.robustness.tables.pipelines import array_trees, has_steps
from mlsecops.robustness.tables.problem import FrameProblem
from mlsecops.robustness.tasks.problem import TaskProblem
from mlsecops.robustness.tasks.texts import TextProblem
from mlsecops.robustness.trees.proof import TreeProof, prover_of
from mlsecops.robustness.trees.space import ArraySpace

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.attacks.tabular import Table

Problem: TypeAlias = "FrameProblem | TaskProblem | TextProblem"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRun:
    """Figures of a run by name, the worst of them, the self-checks, and what trees prove."""

    clean: Figure
    figures: dict[str, Figure]
    worst: Figure
    checks: tuple[Check, ...]
    proof: TreeProof | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationRun:
    """One evaluation: the model with its distinct samples, and the options of every attack.

    The samples are in float32; `given` are the caller's own, for the proof.
    """

    adapter: QueryCount
    x: Array
    y: Labels
    seed: int
    batch_size: int
    bounds: tuple[Array, Array]
    table: Table | None
    executor: Executor | None
    fresh: Adapter | None
    problem: Problem | None = None
    given: NDArray[Any] | None = None

    def measure(
        self,
        searched: Sequence[Attack],
        wanted: Sequence[Attack],
        progress: Progress | None,
        *,
        checks: bool,
    ) -> MeasuredRun:
        """Run the searches one by one, then the proof of trees, then the self-checks.

        Args:
            searched: Attacks that search for examples.
            wanted: These, and the tree attacks, whose examples the proof gives.
            progress: As for `evaluate_robustness`.
            checks: Whether to run the self-checks.
        """
        clean = self.clean()
        figures = self._searched(searched, clean, progress)
        measured, proof = list(figures.values()), self.proof(wanted, clean)
        if len(wanted) > len(searched):
            _require_proof(proof)
        for own, figure in ({} if proof is None else proof.figures).items():
            name = _unused(own, figures)
            figures[name] = replace(figure, name=name)
        if not searched:
            searched, measured = wanted, [figures[each.name] for each in wanted]
        worst = _worst(clean, list(figures.values()))
        found = self.checked(searched, measured, clean, worst, proof) if checks else ()
        return MeasuredRun(clean=clean, figures=figures, worst=worst, checks=found, proof=proof)

    def _searched(
        self, attacks: Sequence[Attack], clean: Figure, progress: Progress | None
    ) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for turn, attack in enumerate(attacks):
            done = _shifted(progress, turn * len(self.x), len(attacks) * len(self.x))
            name = _unused(attack.name, figures)
            figures[name] = replace(self.attacked(attack, clean, done), name=name)
        return figures

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
            space = ArraySpace(
                inputs=inputs,
                bounds=self.bounds,
                table=self.table,
                given=self.given,
                by_steps=has_steps(self.adapter.model),
            )
            found = None if prover is None else (prover, space)
        if found is None:
            return None
        logits = self._logits(self.x)
        return found[0].prove(found[1], self.y, attacks, clean, self.figure, logits=logits)

    def checked(
        self,
        attacks: Sequence[Attack],
        figures: list[Figure],
        clean: Figure,
        worst: Figure,
        proof: TreeProof | None = None,
    ) -> tuple[Check, ...]:
        """The self-checks, which look at samples that every attack left.

        They follow the strongest attack that uses gradients, else the strongest of all; attacks
        without a radius come into it only where there are no others.
        """
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


def _require_proof(proof: TreeProof | None) -> None:
    """Refuse a tree attack on a model whose trees cannot be read."""
    if proof is None:
        raise UsageError(
            "attacks: trees: expected a tree ensemble of scikit-learn, XGBoost, LightGBM or "
            "CatBoost"
        )
    if proof.proven is None:
        raise UsageError(f"attacks: trees: {'; '.join(each.reason for each in proof.checks)}")


def _unused(name: str, taken: dict[str, Figure]) -> str:
    names = (name, *(f"{name}-{i}" for i in range(2, len(taken) + 2)))
    return next(candidate for candidate in names if candidate not in taken)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
