"""How often a model stays right under attack, measured from the examples themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.ball import Norm
from mlsecops.robustness.attacks.margins import batched_logits, is_correct
from mlsecops.robustness.evaluation.executor import Shard, spread_out
from mlsecops.robustness.evaluation.probe import PROBE, Probe
from mlsecops.robustness.evaluation.query_count import Counted
from mlsecops.robustness.evaluation.self_checks import run_checks
from mlsecops.robustness.report import Check, Figure, Outcomes, RobustnessReport

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mlsecops.adapters.base import Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress
    from mlsecops.robustness.attacks.tabular import Table

__all__ = ["evaluate_robustness"]

_SLACK: Final = 1e-5  # relative; float32 rounding of a projection


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
    """Attack a model, and measure its accuracy on what the attacks return.

    Args:
        model_or_adapter: A framework's model, or an Adapter; left as it was.
        x: Inputs `(n, *shape)`, inside `bounds`.
        y: True labels `(n,)`, integers in `[0, k)`.
        attacks: What to run, each against every sample; one attack, or several.
        seed: Seed of all randomness, at least 0; each sample's draws depend on its row alone.
        batch_size: Samples per call of the model.
        checks: Whether to test the measurement itself; without it no Gate passes.
        bounds: Smallest and largest value of an input: numbers, or arrays per feature `(*shape)`.
        table: Which columns are immutable and which are categories, if `x` is a table `(n, d)`.
        executor: Where batches are attacked, each on a copy of the model (threads, processes,
            a cluster); the examples are the same with and without.
        model_digest: Digest of the model, for the report.
        data_digest: Digest of the data set; by default that of these very samples and labels.
        progress: Called with (samples attacked, samples to attack over all attacks).

    Raises:
        UsageError: The data, labels, bounds or attacks cannot be used, or an attack returned an
            example outside its ball or the bounds.
    """
    attacks = _several(attacks)
    counted = Counted.over(adapt(model_or_adapter))
    batch = _checked(x, y, attacks, seed=seed, batch_size=batch_size, bounds=bounds)
    if table is not None:
        table.require_fits(batch[0])
    run = _Run(
        adapter=counted,
        x=batch[0],
        y=batch[1],
        seed=seed,
        batch_size=batch_size,
        bounds=bounds,
        table=table,
        executor=executor,
    )
    clean = run.figure("clean", run.x, {})
    figures: dict[str, Figure] = {}
    for turn, attack in enumerate(attacks):
        done = _shifted(progress, turn * len(run.x), len(attacks) * len(run.x))
        figures[_unused(attack.name, figures)] = run.attacked(attack, clean, done)
    worst = _worst(clean, list(figures.values()))
    return RobustnessReport(
        n=len(run.x),
        seed=seed,
        bounds=(float(np.min(bounds[0])), float(np.max(bounds[1]))),
        clean=clean,
        attacks={name: _renamed(figure, name) for name, figure in figures.items()},
        worst=worst,
        checks=run.checked(attacks, list(figures.values()), worst) if checks else (),
        model=type(counted.model).__qualname__,
        forward_passes=counted.forward,
        gradient_passes=counted.backward,
        model_digest=model_digest,
        data_digest=data_digest or _digest_of(x, y),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    """One evaluation's model, data and settings."""

    adapter: Counted
    x: Array
    y: Labels
    seed: int
    batch_size: int
    bounds: Bounds
    table: Table | None
    executor: Executor | None

    def figure(self, name: str, examples: Array, params: dict[str, Any]) -> Figure:
        logits = batched_logits(self.adapter, examples, batch_size=self.batch_size)
        if logits.ndim != 2 or self.y.max() >= logits.shape[1]:  # noqa: PLR2004 - (n, k)
            raise UsageError(
                f"y: expected labels under the model's number of classes, got {self.y.max()} "
                f"for scores shaped {logits.shape}"
            )
        correct = is_correct(logits, self.y)
        outcomes = Outcomes(correct=correct, examples=examples)
        return Figure(
            name=name, params=params, hits=int(correct.sum()), n=len(correct), outcomes=outcomes
        )

    def attacked(self, attack: Attack, clean: Figure, progress: Progress | None) -> Figure:
        """Accuracy under an attack, which is spared the samples that are wrong already."""
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
            attack=attack,
            x=self.x[index],
            y=self.y[index],
            index=index,
            seed=self.seed,
            bounds=self.bounds,
            batch_size=self.batch_size,
            table=self.table,
        )
        if self.executor is None:
            return shard.run(self.adapter, progress)
        return spread_out(shard, self.adapter, self.executor, progress)

    def checked(
        self, attacks: Sequence[Attack], figures: list[Figure], worst: Figure
    ) -> tuple[Check, ...]:
        in_ball = [i for i, attack in enumerate(attacks) if math.isfinite(attack.eps)]
        strongest = min(in_ball or range(len(figures)), key=lambda i: figures[i].accuracy)
        stood = np.flatnonzero(worst.correct)
        rng = np.random.default_rng([self.seed, 3])
        rows = np.sort(rng.permutation(stood)[:PROBE])
        bounds = self.bounds
        if self.table is not None:
            bounds = self.table.fixed(self.x[rows], bounds)
        return run_checks(
            Probe(
                adapter=self.adapter,
                attack=attacks[strongest],
                x=self.x[rows],
                y=self.y[rows],
                examples=figures[strongest].examples[rows],
                bounds=bounds,
                seed=self.seed,
                batch_size=self.batch_size,
            )
        )


def _worst(clean: Figure, figures: list[Figure]) -> Figure:
    """Each sample's worst result, with the first example that fooled the model."""
    correct = clean.correct.copy()
    examples = clean.examples.copy()
    for figure in figures:
        fooled = correct & ~figure.correct
        examples[fooled] = figure.examples[fooled]
        correct &= figure.correct
    examples[correct] = figures[-1].examples[correct]
    outcomes = Outcomes(correct=correct, examples=examples)
    return Figure(
        name="worst", params={}, hits=int(correct.sum()), n=len(correct), outcomes=outcomes
    )


def _several(attacks: Attack | Sequence[Attack]) -> Sequence[Attack]:
    """The attacks, also where one is given alone."""
    several = attacks if isinstance(attacks, Sequence) else (attacks,)
    for each in several:
        if isinstance(each, type) or not callable(getattr(each, "perturb", None)):
            raise UsageError(
                f"attacks: expected attacks such as PGD(eps=0.1), one or a list of them, "
                f"got {each!r}"
            )
    return several


def _checked(
    x: Any, y: Any, attacks: Sequence[Attack], *, seed: int, batch_size: int, bounds: Bounds
) -> tuple[Array, Labels]:
    """Inputs and labels as the attacks need them, or a refusal that says what is wrong."""
    inputs, labels = np.asarray(x), np.asarray(y)
    low, high = (np.asarray(bound) for bound in bounds)
    if not attacks:
        raise UsageError("attacks: expected at least one, got none")
    if seed < 0 or batch_size < 1 or not (low < high).all():
        raise UsageError(
            f"expected seed >= 0, batch_size >= 1 and bounds (low, high) with low < high, "
            f"got seed={seed}, batch_size={batch_size}, bounds={bounds}"
        )
    if not len(inputs) or labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise UsageError(
            f"expected x of shape (n, *shape), n >= 1, and y of n integers; "
            f"got x {inputs.shape} and y {labels.shape} of {labels.dtype}"
        )
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
            "scale the inputs, or state the bounds they have"
        )
    return inputs.astype(np.float32), labels.astype(np.int64)


def _require_inside(attack: Attack, examples: Array, x: Array, bounds: Bounds) -> None:
    """Refuse examples that are not what the report would say they are."""
    low, high = (np.asarray(bound, dtype=np.float32) for bound in bounds)
    if attack.norm not in get_args(Norm):
        raise UsageError(f"{attack.name}: no report holds a {attack.norm!r} ball")
    offset = (examples.astype(np.float64) - x).reshape(len(x), -1)
    order = np.inf if attack.norm == "linf" else 2
    furthest = float(np.linalg.norm(offset, ord=order, axis=1).max())
    reach = attack.eps + _SLACK * max(attack.eps, float(np.abs(x).max()))
    if not (furthest <= reach and ((examples >= low) & (examples <= high)).all()):
        raise UsageError(
            f"{attack.name} returned examples at a {attack.norm} distance of {furthest:.6g} with "
            f"values from {examples.min():.6g} to {examples.max():.6g}: expected at most "
            f"{attack.eps:.6g} inside {bounds}; mend the attack"
        )


def _digest_of(x: Any, y: Any) -> Digest:
    """Digest that `hash_dataset` gives the caller's own arrays."""
    return hash_dataset({"x": np.asarray(x), "y": np.asarray(y)}, name="evaluation").root


def _unused(name: str, taken: dict[str, Figure]) -> str:
    """The name, or with "-2", "-3"… when an attack of that name ran already."""
    names = (name, *(f"{name}-{i}" for i in range(2, len(taken) + 2)))
    return next(candidate for candidate in names if candidate not in taken)


def _renamed(figure: Figure, name: str) -> Figure:
    return Figure(
        name=name, params=figure.params, hits=figure.hits, n=figure.n, outcomes=figure.outcomes
    )


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
