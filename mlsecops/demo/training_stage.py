"""Steps 2 and 3: training with lineage, and hardening until the robustness gate passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops.demo.context import DemoContext
from mlsecops.errors import GateFailed
from mlsecops.poisoning import PoisoningReport, detect_poisoning
from mlsecops.provenance import Manifest, Statement, TrainingRun, hash_path, training_run
from mlsecops.robustness import FGSM, PGD, Gate, RobustnessReport, evaluate_robustness

EPS: Final = 0.1  # of the pixel range [0, 1]; chosen: an image stays readable
FLOOR: Final = 0.70  # accuracy; chosen: only hardened models reach it
EPOCHS: Final = 15  # passes over the data; chosen
HARDENING_EPOCHS: Final = 5  # passes over the data in a round; chosen
HARDENING_ROUNDS: Final = 8  # rounds; chosen: the demo gives up after them
RELEASES: Final = 2  # models; a rollback needs an earlier one
ATTACKS: Final = (FGSM(eps=EPS), PGD(eps=EPS, steps=20))
HARDENING_ATTACK: Final = PGD(eps=1.2 * EPS, steps=4, until="end")
GATE: Final = Gate(min_accuracy=FLOOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that passed the gate, with its robustness and the SLSA statement of its run."""

    folder: Path
    report: RobustnessReport
    provenance: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Robustness before hardening, and the candidates for release in order."""

    before: RobustnessReport
    candidates: tuple[Candidate, ...]


def train_model(context: DemoContext, data: Manifest) -> tuple[Any, PoisoningReport]:
    """Train in a run that records data, parameters, code and packages (step 2)."""
    with context.step(2, f"Training with lineage ({context.network.title})") as fact:
        model = context.network.build(seed=context.seed)
        run, _ = _train(context, data, model, "baseline", epochs=EPOCHS, seed=context.seed)
        statement = run.statement()
        fact("run", f"{run.id}, {run.state}, {run.duration:.1f} s")
        fact("lineage", _lineage(statement))
        train = context.digits.train
        found = detect_poisoning(model, train.x, train.y, seed=context.seed)
        fact("activations", f"{len(found.suspects)} of {len(train.y)} rows to look at")
    return model, found


def harden_model(context: DemoContext, data: Manifest, model: Any) -> Trained:
    """Measure, judge and train adversarially until enough candidates pass (step 3)."""
    title = f"Robustness gate: at least {FLOOR:.0%} under FGSM and PGD at eps {EPS}"
    with context.step(3, title) as fact:
        before = _measure(context, model)
        fact("as trained", _figures(before))
        candidates: list[Candidate] = []
        for number in range(1, HARDENING_ROUNDS + 1):
            run, folder = _train(
                context,
                data,
                model,
                f"hardened-{number}",
                epochs=HARDENING_EPOCHS,
                seed=context.seed + number,
                attack=HARDENING_ATTACK,
            )
            report = _measure(context, model, folder=folder, data=data)
            fact(f"hardened {number}×", _figures(report))
            if GATE.judge(report).verdict == "pass":
                candidates.append(
                    Candidate(folder=folder, report=report, provenance=run.statement())
                )
            if len(candidates) == RELEASES:
                return Trained(before=before, candidates=tuple(candidates))
    raise GateFailed(
        f"after {HARDENING_ROUNDS} rounds of hardening {len(candidates)} models passed the gate, "
        f"expected {RELEASES}; try another seed"
    )


def _train(
    context: DemoContext,
    data: Manifest,
    model: Any,
    stage: str,
    *,
    epochs: int,
    seed: int,
    attack: PGD | None = None,
) -> tuple[TrainingRun, Path]:
    """Train in place within a recorded run, and save the model into a new folder."""
    folder = context.out / "candidates" / stage / "model"
    folder.mkdir(parents=True)
    parameters = {
        "stage": stage,
        "framework": context.network.title,
        "epochs": epochs,
        "seed": context.seed,
        "eps": 0.0 if attack is None else attack.eps,
    }
    with training_run("digits", datasets=[data], hyperparameters=parameters) as run:
        context.network.fit(model, context.digits.train, epochs=epochs, seed=seed, attack=attack)
        context.network.save(model, folder)
        run.add_output(folder)
    return run, folder


def _measure(
    context: DemoContext, model: Any, *, folder: Path | None = None, data: Manifest | None = None
) -> RobustnessReport:
    test = context.digits.test
    return evaluate_robustness(
        model,
        test.x,
        test.y,
        ATTACKS,
        seed=context.seed,
        model_digest=None if folder is None else hash_path(folder).root,
        data_digest=None if data is None else data.root,
    )


def _figures(report: RobustnessReport) -> str:
    figures = [f"clean {report.clean.accuracy:.1%}"]
    for name, figure in report.attacks.items():
        low, high = figure.interval
        figures.append(f"{name} {figure.accuracy:.1%} [{low:.1%}, {high:.1%}]")
    return f"{', '.join(figures)} → {GATE.judge(report).verdict}"


def _lineage(statement: Statement) -> str:
    dependencies = statement.predicate["buildDefinition"]["resolvedDependencies"]
    code = next(item for item in dependencies if item.get("name") == "code")
    commit = code.get("digest", {}).get("gitCommit", "no commit")[:12]
    state = "dirty tree" if code["annotations"]["dirty"] else "clean tree"
    count = sum(1 for item in dependencies if item.get("uri", "").startswith("pkg:"))
    data = dependencies[0]["digest"]["sha256"]
    return f"data {data[:12]}, code {commit} ({state}), {count} packages"
