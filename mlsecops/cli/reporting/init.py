"""Command `mlsecops init`: a folder with a model → settings, keys and a script to keep."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mlsecops._files import write_atomically
from mlsecops.cli.inputs import add_datasets, write_file
from mlsecops.cli.options import option
from mlsecops.cli.project import (
    SETTINGS,
    Project,
    find_evaluation,
    find_model,
    is_weights_alone,
    scanned,
)
from mlsecops.cli.samples import open_samples
from mlsecops.cli.terminal import note, plural, show
from mlsecops.cli.values import positive, share
from mlsecops.errors import UsageError
from mlsecops.signing import Signer

EXAMPLE = "mlsecops init --model model/ --evaluation eval.npz --dataset train=data/"
SCRIPT: Final = "secure.py"
"""Name of the script."""
_SHARE_OF_RANGE: Final = 0.05  # of the inputs' range; chosen: a radius to begin with
_TABLE: Final = 2  # axes of an array of rows and columns
_LIKE: Final = 0.1  # of the whole range; chosen: pixels and scaled columns range over more of it
_PROGRAM: Final = '''"""Signs, loads and attacks a model, and writes its deliverables."""
import json, tomllib
from pathlib import Path
import numpy as np
from mlsecops import (FGSM, PGD, Gate, SecureLoader, SecurePipeline, Signer, TrustPolicy,
                      evaluate_robustness, hash_path, robustness, sign, training_run)
project = tomllib.loads(Path("mlsecops.toml").read_text("utf-8"))
policy, model, eps = TrustPolicy.load(project["policy"]), Path(project["model"]), project["eps"]
data = {name: hash_path(path) for name, path in project["datasets"].items()}
with training_run(project["name"], datasets=list(data.values())) as run:
    run.add_output(model)  # train here, so that the provenance names what was done
sign(model, Signer.from_pem(project["key"]), statements=[run.statement()], replace=True)
loaded, report = SecureLoader(policy).load(model), None
if project["evaluation"]:
    x, y = (np.load(project["evaluation"])[name] for name in "xy")
    gradients = loaded.adapter is not None and loaded.adapter.differentiable
    attacks = [FGSM(eps), PGD(eps)] if gradients else [robustness.Square(eps)]
    report = evaluate_robustness(loaded, x, y, attacks, bounds=project["bounds"])
    Path("robustness.json").write_text(json.dumps(report.to_dict()), "utf-8")
pipeline = SecurePipeline(name=project["name"], model=model, policy=policy, datasets=data,
    robustness=report, gate=Gate(min_accuracy=project["min_accuracy"]), loaded=loaded)
made = pipeline.deliver(project["out"], framework=project["framework"] or None)
print(f"{len(made.files)} files in {made.folder}; gate: {pipeline.verdict() or 'not judged'}")
raise SystemExit(pipeline.verdict() in {"fail", "inconclusive"})
'''
_RADII: Final = (
    "eps, table = 1, robustness.Table(eps={i: each for i, each in enumerate(eps) if each})"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--folder DIR", "folder of the project", type=Path, default=Path())
    option(parser, "--model M", "model folder or file; default the one that is found", type=Path)
    option(parser, "--evaluation D.npz", "file with x and y for the attacks; default the one that "
           "is found", type=Path)  # fmt: skip
    add_datasets(parser)
    option(parser, "--arch MODULE:CALLABLE", "callable that builds the model, where its file holds "
           "weights alone")  # fmt: skip
    option(parser, "--name NAME", "name of the pipeline; default that of the model")
    option(parser, "--tolerance T", "for a regression: largest error that is right, in the unit of "
           "y", type=positive)  # fmt: skip
    option(parser, "--min-accuracy SHARE", "lowest accuracy of the gate, 0 to 1", type=share,
           default=0.7)  # fmt: skip
    option(parser, "--overwrite", "replace settings and script; keys are kept")


def run(options: argparse.Namespace) -> int:
    """Write what is missing, and say what to run next."""
    folder: Path = options.folder
    if not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder, found none; make it, with the model in it")
    for name in (SETTINGS, SCRIPT):
        if (folder / name).exists() and not options.overwrite:
            raise UsageError(f"{folder / name} exists: expected none; --overwrite replaces it")
    datasets = _datasets(options.dataset, folder)
    evaluation = (
        _inside(folder, options.evaluation) if options.evaluation else find_evaluation(folder)
    )
    data = [folder / each for each in datasets.values()] + ([evaluation] if evaluation else [])
    model = _inside(folder, options.model) if options.model else find_model(folder, data=data)
    verdict = scanned(model)
    if verdict.refused:
        raise UsageError(f"{model}: refused by the scan; see 'mlsecops scan {model}'")
    project = Project(
        name=options.name or model.stem,
        model=_relative(model, folder),
        evaluation=_relative(evaluation, folder) if evaluation else "",
        architecture=_architecture(options, model),
        datasets=datasets,
        tolerance=_tolerance(options, evaluation),
        min_accuracy=options.min_accuracy,
        **(_ranges(evaluation) if evaluation else {}),
    )
    _require_own_key(folder / project.key)
    write_file(folder / SETTINGS, project.to_toml())
    write_file(folder / SCRIPT, program(project))
    _keys(folder, project)
    show(f"{folder / SETTINGS}", f"{folder / SCRIPT}")
    _tell(project)
    show(f"next: python {SCRIPT}" if folder == Path() else f"next: cd {folder} && python {SCRIPT}")
    return 0


def _tolerance(options: argparse.Namespace, evaluation: Path | None) -> float:
    """What a regression's error may be; 0 where y holds classes."""
    if options.tolerance is not None or evaluation is None:
        return options.tolerance or 0.0
    with open_samples(evaluation) as (_, y):
        values = y.dtype.kind == "f"
    if values:
        raise UsageError(
            f"--tolerance: expected the largest error that is right, in the unit of y, since y of "
            f"{evaluation} holds values of a regression; make y integers if they are classes"
        )
    return 0.0


def _tell(project: Project) -> None:
    """Say what the settings took for the model and for the samples, so that a wrong guess shows."""
    show(f"model: {project.model}")
    if not project.evaluation:
        note("no file with arrays x and y was found: the model will not be attacked")
    elif isinstance(project.eps, tuple):
        count = plural(len(project.eps), "column")
        show(f"attacked with: {project.evaluation}, a table of {count}, each with its own eps: a "
             f"twentieth of its range; 0 in {SETTINGS} keeps a column as it is")  # fmt: skip
    else:
        show(f"attacked with: {project.evaluation}, eps {project.eps:g}")


def program(project: Project) -> str:
    """The script of a project: about 25 lines, which its user keeps and changes."""
    lines = _PROGRAM.splitlines()
    if isinstance(project.eps, tuple):
        lines.insert(1 + next(i for i, each in enumerate(lines) if "eps =" in each), _RADII)
        lines = [each.replace('["bounds"]', '["bounds"], table=table') for each in lines]
    if project.tolerance:
        end = 'bounds=project["bounds"]'
        more = ',\n        tolerance=project["tolerance"]'
        lines = [each.replace(end, end + more) for each in lines]
    if project.architecture:
        module, _, name = project.architecture.partition(":")
        lines.insert(1 + lines.index("import numpy as np"), f"from {module} import {name}")
        lines = [each.replace(".load(model)", f".load(model, into={name}())") for each in lines]
    return "\n".join(lines) + "\n"


def _architecture(options: argparse.Namespace, model: Path) -> str:
    given, alone = options.arch or "", is_weights_alone(model)
    if not given and alone and sys.stdin.isatty():
        given = input(f"{model} holds weights alone; callable that builds it (MODULE:CALLABLE): ")
    module, _, name = given.partition(":")
    if given and not all(each.isidentifier() for each in (*module.split("."), name)):
        raise UsageError(f"--arch: expected MODULE:CALLABLE such as nets:build, got {given!r}")
    if alone and not given:
        raise UsageError(
            f"--arch: expected MODULE:CALLABLE that builds the model, since {model} holds weights "
            "alone; write it into a module of the folder and name it"
        )
    return given


def _inside(folder: Path, path: Path) -> Path:
    place = path if path.exists() else folder / path
    if not place.exists():
        raise UsageError(
            f"cannot open {path}: expected a file or folder, found none; check the path"
        )
    return place


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _datasets(given: Iterable[tuple[str, Path]], folder: Path) -> dict[str, str]:
    return {name: _relative(_inside(folder, path), folder) for name, path in given}


def _ranges(evaluation: Path) -> dict[str, Any]:
    """Bounds of the inputs, and a radius of a twentieth of them; of a table, for each column."""
    with open_samples(evaluation) as (x, _):
        if x.dtype.kind not in "biuf" or not x.size:
            raise UsageError(f"{evaluation}: expected numbers in x, got {x.dtype} {x.shape}")
        low, high = float(x.min()), float(x.max())
        lows, highs = (
            tuple(float(each) for each in side) if x.ndim == _TABLE else ()
            for side in (x.min(axis=0), x.max(axis=0))
        )
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(f"{evaluation}: expected a range of values in x, got {low} to {high}")
    ranges = [above - below for below, above in zip(lows, highs, strict=True)]
    if ranges and statistics.median(ranges) < _LIKE * (high - low):
        return {"bounds": (lows, highs), "eps": tuple(map(_radius, ranges))}
    bounds = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    return {"bounds": bounds, "eps": _radius(bounds[1] - bounds[0])}


def _radius(extent: float) -> float:
    return float(f"{_SHARE_OF_RANGE * extent:.6g}")


def _require_own_key(private: Path) -> None:
    """Refuse to make a private key where the public key of another one would be replaced."""
    public = private.with_suffix(".pub.pem")
    if public.exists() and not private.exists():
        raise UsageError(f"{public} exists without {private.name}: move it away, or add its key")


def _keys(folder: Path, project: Project) -> None:
    """Make a key and a policy that trusts it, unless they are there."""
    private, policy = folder / project.key, folder / project.policy
    public = private.with_suffix(".pub.pem")
    if private.exists() and not public.exists():
        write_file(public, Signer.from_pem(private).public_key.pem)
    if not private.exists():
        signer = Signer.generate("p256")
        write_atomically(private, signer.to_pem(), mode=0o600)
        write_atomically(public, signer.public_key.pem.encode())
        show(f"{private} (private: keep it off servers and out of version control)")
    if not policy.exists():
        write_file(policy, f'[[keys]]\npath = "{public.name}"\n')
        show(str(policy))
