from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

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
    offsets = np.repeat(np.linspace(0.02, 0.2, 10), 20)
    signs = np.tile([1.0, -1.0], 100)
    x = 0.5 + (offsets * signs)[:, None] * np.ones(10)
    return x.astype(np.float32), (signs > 0).astype(int)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    root = str(Path(__file__).parents[1])
    monkeypatch.syspath_prepend(root)
    plugin = "mlsecops.pytest_plugin"

    def run_tests(body: str) -> pytest.RunResult:
        pytester.makepyfile(HEAD + body)
        loaded = any(p.module_name == plugin for p in _entry_points())
        options = () if loaded else ("-p", plugin)
        return pytester.runpytest_inprocess(*options, "--strict-markers")

    return run_tests


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - one use

    return [
        type("Loaded", (), {"module_name": entry.module})
        for entry in entry_points(group="pytest11")
    ]


def test_robust_model_passes(run: Any) -> None:
    run("""
@pytest.mark.robust(attack=PGD(eps=0.05, steps=5), min_accuracy=0.6)
def test_it(model, data):
    return model, *data
""").assert_outcomes(passed=1)


def test_failure_names_attack_figure_interval_and_floor(run: Any) -> None:
    result = run("""
@pytest.mark.robust(attack=PGD(eps=0.11, steps=5), min_accuracy=0.9)
def test_it(model, data):
    return model, *data
""")
    result.assert_outcomes(failed=1)
    said = r".*test_it.*gate failed.*pgd\(eps=0.11.*0\.500 .*0\.440 to 0\.560\).*0\.900.*"
    result.stdout.re_match_lines([said])


def test_masked_gradients_fail_as_inconclusive(run: Any) -> None:
    result = run("""
@pytest.mark.robust(attack=FGSM(eps=0.11), min_accuracy=0.6)
def test_it(model, data):
    return with_zero_gradients(model), *data
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*inconclusive*gradient-present*"])


def test_several_attacks_and_settings_are_taken(run: Any) -> None:
    run("""
@pytest.mark.robust(
    attack=[FGSM(0.05), PGD(0.05, steps=5)], min_accuracy=0.6, min_clean=0.9, seed=3,
    batch_size=64, bounds=(0, 1), per_attack={"pgd": 0.6},
)
def test_it(model, data):
    return model, *data
""").assert_outcomes(passed=1)


def test_other_tests_are_left_alone(run: Any) -> None:
    run("""
def test_plain():
    assert True

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
        ("attack=FGSM(0.1), min_accuracy=50", "return model, *data", "share in"),
    ],
)
def test_marker_that_cannot_work_fails_the_test(
    run: Any, mark: str, body: str, message: str
) -> None:
    result = run(f"""
@pytest.mark.robust({mark})
def test_it(model, data):
    {body}
""")
    result.assert_outcomes(failed=1)
    assert message in result.stdout.str()


def test_error_in_a_marked_test_is_its_own(run: Any) -> None:
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
