"""Robustness evaluation: accuracy under attack, measured from the examples.

model, x, y, attacks → examples → accuracies and self-checks → RobustnessReport
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from mlsecops._choices import checked, of_type, one_of, shown
from mlsecops.adapters import adapt
from mlsecops.adapters.base import in_batches
from mlsecops.adapters.identity import digest_of
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.ball import Norm
from mlsecops.robustness.attacks.base import require_samples
from mlsecops.robustness.attacks.losses import is_correct
from mlsecops.robustness.evaluation.executor import Shard, spread_out
from mlsecops.robustness.evaluation.probe import PROBE, Probe
from mlsecops.robustness.evaluation.query_count import QueryCount
from mlsecops.robustness.evaluation.self_checks import run_checks
from mlsecops.robustness.report import Check, Figure, RobustnessReport

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.attacks.tabular import Table

_SLACK: Final = 1e-5  # relative; chosen: above float32 rounding of a projection


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
    executor: Executor | None = None,
    model_digest: Digest | None = None,
    data_digest: Digest | None = None,
    progress: Progress | None = None,
) -> RobustnessReport:
    """Attack a model and measure its accuracy on the returned examples.

    Args:
        model_or_adapter: A framework's model, a LoadedModel or an Adapter; unchanged.
        x: Inputs `(n, *shape)`, inside `bounds`.
        y: True labels `(n,)`, integers in `[0, k)`.
        attacks: One attack or several, each run against every sample.
        seed: Seed of all randomness, at least 0; each sample's draws depend only on its row.
        batch_size: Samples per call of the model.
        checks: Whether to test the measurement itself; without the tests no Gate passes.
        bounds: Smallest and largest value of an input: numbers, or arrays per feature `(*shape)`.
        table: Immutable and categorical columns, if `x` is a table `(n, d)`.
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
    if table is not None:
        of_type("table", table, "require_fits", "a Table")
    if executor is not None:
        of_type("executor", executor, "submit", "an Executor")
    if progress is not None:
        of_type("progress", progress, "__call__", "a function")
    model = QueryCount.over(adapt(model_or_adapter))
    inputs, labels = _checked(x, y, attacks, seed=seed, batch_size=batch_size, bounds=bounds)
    if table is not None:
        table.require_fits(inputs)
    run = _Run(
        adapter=model, x=inputs, y=labels, seed=seed, batch_size=batch_size, bounds=bounds,
        table=table, executor=executor,
    )  # fmt: skip
    clean = run.figure("clean", run.x, {})
    figures: dict[str, Figure] = {}
    for turn, attack in enumerate(attacks):
        done = _shifted(progress, turn * len(run.x), len(attacks) * len(run.x))
        name = _unused(attack.name, figures)
        figures[name] = replace(run.attacked(attack, clean, done), name=name)
    worst = _worst(clean, list(figures.values()))
    arrays = {"x": np.asarray(x), "y": np.asarray(y)}
    return RobustnessReport(
        n=len(run.x),
        seed=seed,
        bounds=(float(np.min(bounds[0])), float(np.max(bounds[1]))),
        clean=clean,
        attacks=figures,
        worst=worst,
        checks=run.checked(attacks, list(figures.values()), worst) if checks else (),
        model=type(model.model).__qualname__,
        forward_passes=model.forward,
        gradient_passes=model.backward,
        model_digest=model_digest or digest_of(model_or_adapter),
        data_digest=data_digest or hash_dataset(arrays, name="evaluation").root,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    adapter: QueryCount
    x: Array
    y: Labels
    seed: int
    batch_size: int
    bounds: Bounds
    table: Table | None
    executor: Executor | None

    def figure(self, name: str, examples: Array, params: dict[str, Any]) -> Figure:
        logits = in_batches(self.adapter.logits, examples, size=self.batch_size)
        if logits.ndim != 2 or self.y.max() >= logits.shape[1]:  # noqa: PLR2004 - (n, k)
            raise UsageError(
                f"y: expected labels under the model's number of classes, got {self.y.max()} "
                f"for scores shaped {logits.shape}"
            )
        return Figure.of(name, is_correct(logits, self.y), examples, params)

    def attacked(self, attack: Attack, clean: Figure, progress: Progress | None) -> Figure:
        """Accuracy under an attack, which skips the samples that are already misclassified."""
        index = np.flatnonzero(clean.correct)
        examples = self.x.copy()
        if len(index):
            examples[index] = self._examples(attack, index, progress)
        kept = examples
        if self.table is not None:
            self.table.require_kept(attack.name, examples, self.x)
            kept = self.table.numbers(examples, self.x)
        _require_inside(attack, kept, self.x, self.bounds)
        return self.figure(attack.name, examples, dict(attack.params))

    def _examples(self, attack: Attack, index: Labels, progress: Progress | None) -> Array:
        shard = Shard(
            attack=attack, x=self.x[index], y=self.y[index], index=index, seed=self.seed,
            bounds=self.bounds, batch_size=self.batch_size, table=self.table,
        )  # fmt: skip
        if self.executor is None:
            return shard.run(self.adapter, progress)
        return spread_out(shard, self.adapter, self.executor, progress)

    def checked(
        self, attacks: Sequence[Attack], figures: list[Figure], worst: Figure
    ) -> tuple[Check, ...]:
        in_ball = [i for i, attack in enumerate(attacks) if math.isfinite(attack.eps)]
        strongest = min(in_ball or range(len(figures)), key=lambda i: figures[i].accuracy)
        rng = np.random.default_rng([self.seed, 3])
        rows = np.sort(rng.permutation(np.flatnonzero(worst.correct))[:PROBE])
        table, bounds = self.table, self.bounds
        probe = Probe(
            adapter=self.adapter, attack=attacks[strongest], x=self.x[rows], y=self.y[rows],
            examples=figures[strongest].examples[rows], seed=self.seed, batch_size=self.batch_size,
            bounds=bounds if table is None else table.fixed(self.x[rows], bounds),
        )  # fmt: skip
        return run_checks(probe)


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


def _several(attacks: Attack | Sequence[Attack]) -> Sequence[Attack]:
    several = attacks if isinstance(attacks, Sequence) else (attacks,)
    for each in several:
        if isinstance(each, type) or not callable(getattr(each, "perturb", None)):
            raise UsageError(
                f"attacks: expected attacks such as PGD(eps=0.1), one or a list, got {each!r}"
            )
    return several


def _checked(
    x: Any, y: Any, attacks: Sequence[Attack], *, seed: int, batch_size: int, bounds: Bounds
) -> tuple[Array, Labels]:
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:  # noqa: PLR2004 - low and high
        raise UsageError(f"bounds: expected (low, high), got {shown(bounds)}")
    low, high = (np.asarray(bound) for bound in bounds)
    if not attacks:
        raise UsageError("attacks: expected at least one, got none")
    if seed < 0 or batch_size < 1 or not (low < high).all():
        raise UsageError(
            f"expected seed >= 0, batch_size >= 1 and bounds (low, high) with low < high, "
            f"got seed={seed}, batch_size={batch_size}, bounds={bounds}"
        )
    inputs, labels = require_samples(x, y)
    if inputs.dtype.kind not in "iuf" or labels.min() < 0:
        raise UsageError(
            f"expected numeric x and labels of at least 0, got {inputs.dtype}, {labels.min()}"
        )
    if any(b.shape not in {(), inputs.shape[1:]} for b in (low, high)):
        raise UsageError(
            f"bounds: expected numbers or arrays of one input's shape {inputs.shape[1:]}, "
            f"got {low.shape} and {high.shape}"
        )
    if not ((inputs >= low) & (inputs <= high)).all():
        raise UsageError(
            f"x: expected values inside bounds {bounds}, got {inputs.min()} to {inputs.max()}; "
            "scale the inputs, or pass their bounds"
        )
    return inputs.astype(np.float32), labels.astype(np.int64)


def _require_inside(attack: Attack, examples: Array, x: Array, bounds: Bounds) -> None:
    low, high = (np.asarray(bound, dtype=np.float32) for bound in bounds)
    one_of(f"{attack.name}: norm", attack.norm, get_args(Norm))
    offset = (examples.astype(np.float64) - x).reshape(len(x), -1)
    order = np.inf if attack.norm == "linf" else 2
    furthest = float(np.linalg.norm(offset, ord=order, axis=1).max())
    reach = attack.eps + _SLACK * max(attack.eps, float(np.abs(x).max()))
    if not (furthest <= reach and ((examples >= low) & (examples <= high)).all()):
        raise UsageError(
            f"{attack.name} returned examples at a {attack.norm} distance of {furthest:.6g} with "
            f"values from {examples.min():.6g} to {examples.max():.6g}: expected at most "
            f"{attack.eps:.6g} inside {bounds}; correct the attack"
        )


def _unused(name: str, taken: dict[str, Figure]) -> str:
    names = (name, *(f"{name}-{i}" for i in range(2, len(taken) + 2)))
    return next(candidate for candidate in names if candidate not in taken)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
