"""Quickstart of a user's own model: from a folder with a model to six deliverables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlsecops.cli.project import Project, read_project
from mlsecops.signing import Signer
from tests.attackers.poisoning import digits
from tests.cli.conftest import Command

FOUND = ("index.html", "architecture.svg", "signing/verified.json", "robustness.json",
         "dashboard.json", "playbook.json", "bom.cdx.json", "evidence.json")  # fmt: skip
NETS = "import torch\ndef build():\n    return torch.nn.Linear(64, 10)\n"


def torch_weights(folder: Path) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415 - this one needs it

    x, y = digits()
    flat = x.reshape(len(x), -1)[:500]
    weight = 5 * np.linalg.solve(flat.T @ flat + np.eye(64), flat.T @ np.eye(10)[y[:500]])
    tensors = {
        "weight": np.ascontiguousarray(weight.T, np.float32),
        "bias": np.zeros(10, np.float32),
    }
    save_file(tensors, folder / "digits.safetensors")
    (folder.parent / "nets.py").write_text(NETS)
    np.savez(folder.parent / "eval.npz", x=x.reshape(len(x), -1)[500:540], y=y[500:540])


def pipeline(folder: Path) -> None:
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[::2], y[::2])
    joblib.dump(model, folder / "wine.joblib")
    np.savez(folder.parent / "eval.npz", x=x[1::4].astype(np.float32), y=y[1::4])


def tree(folder: Path) -> None:
    x, y = load_wine(return_X_y=True)
    joblib.dump(DecisionTreeClassifier(max_depth=3).fit(x[::2], y[::2]), folder / "tree.joblib")


MODELS: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "weights": (torch_weights, ["--arch", "nets:build"], "pgd"),
    "pipeline": (pipeline, [], "square"),
    "no data": (tree, [], ""),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_a_user_s_own_model_gets_its_six_deliverables(
    command: Command, project: Path, name: str
) -> None:
    make, words, attack = MODELS[name]
    make(project / "model")
    outcome = command("init", "--dataset", "train=data", *words)
    assert outcome.status == 0, outcome.err
    script = (project / "secure.py").read_text()
    assert script.count("\n") <= 25
    assert (project / "release.pem").stat().st_mode & 0o077 == 0
    done = subprocess.run(
        [sys.executable, "secure.py"], cwd=project, check=False, capture_output=True, text=True,
        timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    judged = done.stdout.strip().rpartition("gate: ")[2]
    assert done.returncode == int(judged in {"fail", "inconclusive"}), done.stdout
    assert (judged == "not judged") == (not attack)
    wanted = {each for each in FOUND if attack or each != "robustness.json"}
    assert wanted <= {
        str(each.relative_to(project / "deliverables"))
        for each in (project / "deliverables").rglob("*")
    }
    if attack:
        report = json.loads((project / "deliverables" / "robustness.json").read_text())
        assert attack in {each["name"] for each in report["attacks"]}
    outcome = command("deliver")
    assert outcome.status == done.returncode, outcome.said
    assert ("robustness not measured: expected" in outcome.err) == (not attack)


def test_each_column_of_a_table_has_its_own_radius(command: Command, project: Path) -> None:
    pipeline(project / "model")
    with np.load(project / "eval.npz") as samples:
        x, y = samples["x"], samples["y"]
    x[:, 3] = x[0, 3]  # a column that never changes
    np.savez(project / "eval.npz", x=x, y=y)
    outcome = command("init")
    assert "model: model" in outcome.out
    assert "eval.npz, a table of 13 columns, each with its own eps" in outcome.out
    settings = read_project(project)
    assert settings is not None
    assert isinstance(settings.eps, tuple)
    extent = np.ptp(x, axis=0)
    assert np.allclose(settings.eps, 0.05 * extent, rtol=1e-4)
    assert settings.eps[3] == 0
    assert np.allclose(settings.bounds, [x.min(axis=0), x.max(axis=0)])
    script = (project / "secure.py").read_text()
    assert "table=table" in script
    compile(script, "secure.py", "exec")


def test_columns_of_one_scale_share_a_radius(command: Command, project: Path) -> None:
    torch_weights(project / "model")
    outcome = command("init", "--arch", "nets:build")
    assert "attacked with: eval.npz, eps 0.05" in outcome.out
    assert "Table" not in (project / "secure.py").read_text()


def test_a_regression_is_asked_for_its_tolerance(command: Command, project: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    model = HistGradientBoostingRegressor(loss="poisson", max_iter=5).fit(x[::2], y[::2])
    joblib.dump(model, project / "model" / "sugar.joblib")
    np.savez(project / "sugar.npz", x=x[1::8].astype(np.float32), y=y[1::8])
    outcome = command("init")
    assert outcome.status == 2
    assert "--tolerance: expected the largest error that is right" in outcome.err
    assert command("init", "--tolerance", "90", "--min-accuracy", "0.1").status == 0
    settings = read_project(project)
    assert settings is not None
    assert settings.tolerance == 90
    done = subprocess.run(
        [sys.executable, "secure.py"], cwd=project, check=False, capture_output=True, text=True,
        timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "gate: pass" in done.stdout
    report = json.loads((project / "robustness.json").read_text())
    assert "certified" in report
    assert command("deliver").status == 0


def test_of_several_files_of_samples_the_test_is_taken(command: Command, project: Path) -> None:
    pipeline(project / "model")
    (project / "eval.npz").rename(project / "data" / "test.npz")
    shutil.copy(project / "data" / "test.npz", project / "data" / "train.npz")
    outcome = command("init")
    assert "attacked with: data/test.npz" in outcome.out
    shutil.copy(project / "data" / "test.npz", project / "data" / "eval.npz")
    assert "name it with --evaluation" in command("init", "--overwrite").err


def test_a_model_is_known_by_its_content_not_by_its_name(command: Command, project: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    x, y = load_wine(return_X_y=True)
    booster = xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(x, y)
    (project / "notes.json").write_text('{"by": "me"}')
    booster.save_model(project / "trees.json")
    assert "model: trees.json" in command("init").out
    booster.save_model(project / "trees.ubj")
    outcome = command("init", "--overwrite")
    assert "expected one model, got trees.json, trees.ubj" in outcome.said


def test_a_gate_that_was_set_is_not_passed_without_a_measurement(
    command: Command, project: Path
) -> None:
    pipeline(project / "model")
    assert command("init").status == 0
    signed = command("sign", "model", "--key", "release.pem")
    assert signed.status == 0
    outcome = command("deliver")  # samples are named, but nobody attacked the model
    assert outcome.status == 1
    assert "robustness gate: not judged" in outcome.err


def test_weights_alone_need_the_program_that_builds_the_model(
    command: Command, project: Path
) -> None:
    torch_weights(project / "model")
    outcome = command("init")
    assert outcome.status == 2
    assert "--arch: expected MODULE:CALLABLE" in outcome.said
    assert "nets:build" in command("init", "--arch", "nets build; import os").said


def test_several_models_or_none_are_named(command: Command, project: Path) -> None:
    assert "expected one model, got none" in command("init").said
    for each in ("model", "other"):
        (project / each).mkdir(exist_ok=True)
        tree(project / each)
    assert "got model, other" in command("init").said
    assert command("init", "--model", "other").status == 0
    assert "--overwrite replaces it" in command("init", "--model", "other").said
    key = (project / "release.pem").read_bytes()
    assert command("init", "--model", "model", "--overwrite").status == 0
    assert (project / "release.pem").read_bytes() == key


def test_no_key_of_the_user_is_replaced(command: Command, project: Path) -> None:
    tree(project / "model")
    (project / "release.pub.pem").write_text("of a key in a safe")
    outcome = command("init")
    assert outcome.status == 2
    assert "exists without release.pem" in outcome.said
    assert (project / "release.pub.pem").read_text() == "of a key in a safe"
    assert not (project / "secure.py").exists()


def test_a_private_key_alone_gets_its_public_key(command: Command, project: Path) -> None:
    tree(project / "model")
    signer = Signer.generate("p256")
    (project / "release.pem").write_bytes(signer.to_pem())
    assert command("init").status == 0
    assert (project / "release.pub.pem").read_text() == signer.public_key.pem
    assert (project / "release.pem").read_bytes() == signer.to_pem()


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.arange(3)},
        {"x": np.array(["a", "b"]), "y": np.arange(2)},
        {"x": np.full((2, 3), np.nan), "y": np.arange(2)},
        {"x": np.ones((2, 3)), "y": np.arange(2)},
        {"x": np.ones((0, 3)), "y": np.arange(0)},
    ],
)
def test_samples_without_a_range_are_wrong_use(
    command: Command, project: Path, arrays: dict[str, Any]
) -> None:
    tree(project / "model")
    np.savez(project / "eval.npz", **arrays)
    outcome = command("init", "--evaluation", "eval.npz")
    assert outcome.status == 2
    assert "eval.npz: expected" in outcome.said
    assert not (project / "mlsecops.toml").exists()


def test_a_refused_model_gets_no_script(command: Command, project: Path) -> None:
    (project / "model" / "m.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    assert "refused by the scan" in command("init").said
    assert not (project / "secure.py").exists()


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    project = Project(name='a "b" ü', model="m", datasets={"x y": "d\\e"}, bounds=(-1.5, 2.0))
    table = Project(name="t", model="m", eps=(0.5, 0.0), bounds=((0.0, 1.0), (9.0, 1.0)))
    odd = Project(name="delete\x7f tab\t nul\0", model="m")
    for each in (project, table, odd):
        (tmp_path / "mlsecops.toml").write_text(each.to_toml())
        assert read_project(tmp_path) == each


def test_a_name_that_is_no_utf_8_is_wrong_use(command: Command, project: Path) -> None:
    tree(project / "model")
    outcome = command("init", "--name", "m\udcff")
    assert outcome.status == 2
    assert "mlsecops.toml: expected text that UTF-8 can hold" in outcome.said
    assert not (project / "mlsecops.toml").exists()
    sign = command("sign", "model", "--key", "release.pem")
    assert sign.status == 2


def test_settings_that_are_left_out_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "mlsecops.toml").write_text('name = "a"\nmodel = "m"\n')
    assert read_project(tmp_path) == Project(name="a", model="m")


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "name = 1\nmodle = 2",
        "bounds = [1]",
        "bounds = 3",
        'eps = "wide"',
        "bounds = [[0, 1], {}]",
        'name = "a"\nmodel = 3',
        'name = "a"\nmodel = "model"\ndatasets = "x"',
        'name = "a"\nmodel = "m"\n[datasets]\na = 3',
    ],
)
def test_malformed_settings_are_wrong_use(command: Command, project: Path, text: str) -> None:
    (project / "mlsecops.toml").write_text(text)
    outcome = command("deliver")
    assert outcome.status == 2
    assert "internal error" not in outcome.said
    assert "mlsecops.toml" in outcome.said


@pytest.mark.usefixtures("project")
def test_without_settings_a_delivery_needs_a_model(command: Command) -> None:
    assert "'mlsecops init' writes one" in command("deliver").said
