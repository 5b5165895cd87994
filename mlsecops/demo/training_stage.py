"""Steps 2 and 3: train with lineage, measure robustness, harden until the gate passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops.demo.scene import DemoContext
from mlsecops.errors import GateFailed
from mlsecops.poisoning import PoisoningReport, detect_poisoning
from mlsecops.provenance import Manifest, Statement, TrainingRun, hash_path, training_run
from mlsecops.robustness import FGSM, PGD, Gate, RobustnessReport, evaluate_robustness

EPS: Final = 0.1
FLOOR: Final = 0.70
EPOCHS: Final = 15
HARDENING_EPOCHS: Final = 5
HARDENING_ROUNDS: Final = 8
RELEASES: Final = 2
ATTACKS: Final = (FGSM(eps=EPS), PGD(eps=EPS, steps=20))
HARDENING_ATTACK: Final = PGD(eps=1.2 * EPS, steps=4, until="end")
GATE: Final = Gate(min_accuracy=FLOOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that passed the gate, with what is known of it.

    Attributes:
        folder: Where its files lie; the base name is the model's name.
        report: Its robustness.
        provenance: SLSA statement of the run that made it.
    """

    folder: Path
    report: RobustnessReport
    provenance: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training and hardening gave: the first model's figures, and the releases in order."""

    before: RobustnessReport
    candidates: tuple[Candidate, ...]


def train_model(scene: DemoContext, data: Manifest) -> tuple[Any, PoisoningReport]:
    """Step 2: train inside a run that records data, parameters, code and packages."""
    with scene.step(2, f"Training with lineage ({scene.network.title})") as tell:
        model = scene.network.build(seed=scene.seed)
        with _run(scene, data, "baseline", epochs=EPOCHS) as (run, folder):
            scene.network.fit(model, scene.digits.train, epochs=EPOCHS, seed=scene.seed)
            scene.network.save(model, folder)
            run.add_output(folder)
        statement = run.statement()
        tell("run", f"{run.id}, {run.state}, {run.duration:.1f} s")
        tell("lineage", _lineage(statement))
        train = scene.digits.train
        found = detect_poisoning(scene.network.adapter(model), train.x, train.y, seed=scene.seed)
        tell("activations", f"{len(found.suspects)} of {len(train.y)} rows to look at")
    return model, found


def harden_model(scene: DemoContext, data: Manifest, model: Any) -> Trained:
    """Step 3: measure, judge, and train adversarially until enough candidates pass.

    Raises:
        GateFailed: Too few candidates passed.
    """
    title = f"Robustness gate: at least {FLOOR:.0%} under FGSM and PGD at eps {EPS}"
    with scene.step(3, title) as tell:
        before = _measure(scene, model)
        tell("as trained", _figures(before))
        candidates: list[Candidate] = []
        for number in range(1, HARDENING_ROUNDS + 1):
            with _run(scene, data, f"hardened-{number}", epochs=HARDENING_EPOCHS) as (run, folder):
                scene.network.fit(
                    model,
                    scene.digits.train,
                    epochs=HARDENING_EPOCHS,
                    seed=scene.seed + number,
                    attack=HARDENING_ATTACK,
                )
                scene.network.save(model, folder)
                run.add_output(folder)
            report = _measure(scene, model, folder=folder, data=data)
            tell(f"hardened {number}×", _figures(report))
            if GATE.judge(report).verdict == "pass":
                candidates.append(
                    Candidate(folder=folder, report=report, provenance=run.statement())
                )
            if len(candidates) == RELEASES:
                return Trained(before=before, candidates=tuple(candidates))
    raise GateFailed(
        f"after {HARDENING_ROUNDS} rounds of hardening {len(candidates)} models passed the gate, "
        f"expected {RELEASES}; nothing is released"
    )


@contextmanager
def _run(
    scene: DemoContext, data: Manifest, stage: str, *, epochs: int
) -> Iterator[tuple[TrainingRun, Path]]:
    folder = scene.out / "candidates" / stage / "model"
    folder.mkdir(parents=True)
    parameters = {
        "stage": stage,
        "framework": scene.network.title,
        "epochs": epochs,
        "seed": scene.seed,
        "eps": 0.0 if stage == "baseline" else HARDENING_ATTACK.eps,
    }
    with training_run("digits", datasets=[data], hyperparameters=parameters) as run:
        yield run, folder


def _measure(
    scene: DemoContext, model: Any, *, folder: Path | None = None, data: Manifest | None = None
) -> RobustnessReport:
    test = scene.digits.test
    return evaluate_robustness(
        scene.network.adapter(model),
        test.x,
        test.y,
        ATTACKS,
        seed=scene.seed,
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
