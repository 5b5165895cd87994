from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TypeAlias

import pytest

import mlsecops.robustness  # noqa: F401 - numpy loads once per process, before pytester runs

pytest_plugins = ["pytester"]

HEAD = """
import numpy as np
import pytest
from mlsecops.robustness import FGSM, PGD
from tests.attackers.robustness import SoftmaxRegression, with_zero_gradients

@pytest.fixture
def model():
    weights = np.stack([-np.ones(10), np.ones(10)], axis=1).astype(np.float32)
    return SoftmaxRegression(weights=weights, bias=np.array([5.0, -5.0], dtype=np.float32))

@pytest.fixture
def data():
    offsets = np.repeat(np.linspace(0.02, 0.2, 10), 20) + np.arange(200) * 1e-5  # all distinct
    signs = np.tile([1.0, -1.0], 100)
    x = 0.5 + (offsets * signs)[:, None] * np.ones(10)
    return x.astype(np.float32), (signs > 0).astype(int)
"""

Run: TypeAlias = Callable[[str], pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    root = str(Path(__file__).parents[1])
    monkeypatch.syspath_prepend(root)
    plugin = "mlsecops.pytest_plugin"

    def run_tests(body: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + body)
        loaded = any(p.module_name == plugin for p in _entry_points())
        options = () if loaded else ("-p", plugin)
        return pytester.runpytest_inprocess(*options, "--strict-markers")

    return run_tests


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - one use

    return [
        type("Loaded", (), {"module_name": entry.module})
        for entry in entry_points(group="pytest11")
    ]


def test_robust_model_passes(run: Run) -> None:
    run("""
@pytest.mark.robust(attack=PGD(eps=0.05, steps=5), min_accuracy=0.6)
def test_it(model, data):
    return model, *data
""").assert_outcomes(passed=1)


def test_failure_names_attack_figure_interval_and_floor(run: Run) -> None:
    result = run("""
@pytest.mark.robust(attack=PGD(eps=0.11, steps=5), min_accuracy=0.9)
def test_it(model, data):
    return model, *data
""")
    result.assert_outcomes(failed=1)
    said = r".*test_it.*gate failed.*pgd\(eps=0.11.*0\.500 .*0\.440 to 0\.560\).*0\.900.*"
    result.stdout.re_match_lines([said])


def test_masked_gradients_fail_as_inconclusive(run: Run) -> None:
    result = run("""
@pytest.mark.robust(attack=FGSM(eps=0.11), min_accuracy=0.6)
def test_it(model, data):
    return with_zero_gradients(model), *data
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*inconclusive*gradient-present*"])


def test_several_attacks_and_settings_are_taken(run: Run) -> None:
    run("""
@pytest.mark.robust(
    attack=[FGSM(0.05), PGD(0.05, steps=5)], min_accuracy=0.6, min_clean=0.9, seed=3,
    batch_size=64, bounds=(0, 1), per_attack={"pgd": 0.6},
)
def test_it(model, data):
    return model, *data
""").assert_outcomes(passed=1)


def test_other_tests_are_left_alone(run: Run) -> None:
    run("""
def test_plain():
    pass

def test_plain_failure():
    assert False
""").assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("mark", "body", "message"),
    [
        ("attack=FGSM(0.1), min_accuracy=0.5", "return None", "returns (model, x, y)"),
        ("attack=FGSM(0.1), min_accuracy=0.5", "pass", "returns (model, x, y)"),
        ("min_accuracy=0.5", "return model, *data", "expected @pytest.mark.robust"),
        ("attack=FGSM(0.1), min_acuracy=0.5", "return model, *data", "min_acuracy"),
        ("attack=FGSM(0.1), min_accuracy=50", "return model, *data", "expected a share"),
    ],
)
def test_marker_that_cannot_work_fails_the_test(
    run: Run, mark: str, body: str, message: str
) -> None:
    result = run(f"""
@pytest.mark.robust({mark})
def test_it(model, data):
    {body}
""")
    result.assert_outcomes(failed=1)
    assert message in result.stdout.str()


def test_the_fixture_gives_the_report_of_a_model_that_holds(run: Run) -> None:
    run("""
def test_it(model, data, assert_robust):
    report = assert_robust(model, *data, attack=PGD(eps=0.05, steps=5), min_accuracy=0.6)
    assert report.clean.accuracy == 1.0
""").assert_outcomes(passed=1)


def test_the_fixture_fails_the_test_as_the_marker_does(run: Run) -> None:
    result = run("""
def test_it(model, data, assert_robust):
    assert_robust(model, *data, attack=PGD(eps=0.11, steps=5), min_accuracy=0.9)

def test_wrong_use(model, data, assert_robust):
    assert_robust(model, *data, attack=PGD(eps=0.11, steps=5), floor=0.9)
""")
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines([r".*gate failed.*pgd\(eps=0.11.*0\.500.*0\.900.*"])
    result.stdout.fnmatch_lines(["*cannot be evaluated*floor*"])


def test_a_marked_test_is_held_against_an_earlier_report(run: Run) -> None:
    result = run("""
from mlsecops.robustness import evaluate_robustness

ATTACK = PGD(0.05, steps=5)

def worse(model):
    model.weights = model.weights * np.float32(1)
    model.bias = model.bias + np.array([2, -2], dtype=np.float32)
    return model

def test_it(model, data, assert_robust):
    earlier = evaluate_robustness(model, *data, [ATTACK])
    assert_robust(model, *data, attack=ATTACK, min_accuracy=0, earlier=earlier)
    assert_robust(worse(model), *data, attack=ATTACK, min_accuracy=0, earlier=earlier)
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*change since the earlier report*fail*"])


def test_the_worst_case_stands_in_pytests_own_report(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--junit-xml=out.xml")
    run("""
@pytest.mark.robust(attack=PGD(eps=0.05, steps=5), min_accuracy=0.6)
def test_it(model, data):
    return model, *data
""").assert_outcomes(passed=1)
    written = (pytester.path / "out.xml").read_text()
    assert 'name="robustness.worst" value="0.8000 [' in written


PROJECT = """\
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mlsecops.robustness import Square

@pytest.fixture
def model_and_data():
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    return LogisticRegression().fit(x[:1000], y[:1000]), x[1000:1300], y[1000:1300]

@pytest.mark.robust(attack=Square(eps=0.02, queries=400), min_accuracy=0.45)
def test_digits_withstand_squares(model_and_data):
    return model_and_data

@pytest.mark.robust(attack=Square(eps=0.02, queries=400), min_accuracy=0.99)
def test_digits_withstand_nearly_everything(model_and_data):
    return model_and_data
"""


def test_a_users_project_of_a_few_lines_works_from_the_shell(tmp_path: Path) -> None:
    """Nothing of ours but the installed plugin: a folder, a file, and pytest."""
    (tmp_path / "test_model.py").write_text(PROJECT)
    loaded = any(p.module_name == "mlsecops.pytest_plugin" for p in _entry_points())
    plugin = () if loaded else ("-p", "mlsecops.pytest_plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "1 failed, 1 passed" in done.stdout) == (1, True), done.stdout
    failed = "test_digits_withstand_nearly_everything: robustness gate failed"
    assert failed in done.stdout
    assert "against a floor of 0.990" in done.stdout
    assert "During handling" not in done.stdout


def test_error_in_a_marked_test_is_its_own(run: Run) -> None:
    result = run("""
@pytest.mark.robust(attack=FGSM(0.1), min_accuracy=0.5)
def test_it(model, data):
    raise KeyError("mine")
""")
    result.assert_outcomes(failed=1)
    assert "mine" in result.stdout.str()


def test_plugin_starts_without_numpy() -> None:
    code = "import sys, mlsecops.pytest_plugin; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
