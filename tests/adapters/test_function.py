"""Functions from inputs to scores as models: every form of answer, and no gradients."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlsecops import FGSM, evaluate_robustness
from mlsecops.adapters import Adapter, adapt
from mlsecops.adapters.function import FunctionAdapter
from mlsecops.errors import UsageError
from mlsecops.robustness import Square

torch = pytest.importorskip("torch")

X, FIRST = np.unique(load_iris().data, axis=0, return_index=True)
Y = load_iris().target[FIRST]
X = ((X - X.min(0)) / np.ptp(X, axis=0)).astype(np.float32)
MODEL = LogisticRegression(C=10).fit(X, Y)
SEARCH = Square(0.1, queries=60)


def probabilities(x: Any) -> Any:
    return MODEL.predict_proba(x)


class Served:
    """An object that is called, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: Any) -> Any:
        self.asked.append(len(x))
        return MODEL.decision_function(x)


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "array": probabilities,
    "logits": MODEL.decision_function,
    "list of rows": lambda x: probabilities(x).tolist(),
    "tensor with a gradient": lambda x: torch.tensor(probabilities(x), requires_grad=True),
    "half precision": lambda x: torch.tensor(MODEL.decision_function(x)).bfloat16(),
    "mapping": lambda x: {"scores": probabilities(x), "version": "3"},
    "partial": functools.partial(lambda scale, x: MODEL.decision_function(x) * scale, 3.0),
    "an object": Served(),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_a_function_returns_the_classes_are_the_model_s(name: str) -> None:
    view = adapt(ANSWERS[name])
    assert isinstance(view, Adapter)
    assert (view.framework, view.differentiable) == ("function", False)
    expected = MODEL.predict_proba(X)
    if name not in {"half precision", "partial"}:
        np.testing.assert_allclose(view.predict(X), expected, atol=1e-5)
    agree = view.predict(X).argmax(axis=1) == expected.argmax(axis=1)
    assert agree.mean() > (0.97 if name == "half precision" else 0.999)


def test_an_evaluation_of_a_function_is_that_of_its_model() -> None:
    ours = evaluate_robustness(probabilities, X, Y, SEARCH)
    theirs = evaluate_robustness(MODEL, X, Y, SEARCH)
    assert ours.worst.hits == theirs.worst.hits < ours.clean.hits
    assert ours.output == "probabilities (by values)"
    with pytest.raises(UsageError, match="fgsm needs gradients, and a function"):
        evaluate_robustness(probabilities, X, Y, FGSM(0.1))


def test_a_function_that_writes_into_its_input_changes_no_sample() -> None:
    def writes(x: Any) -> Any:
        scores = probabilities(x)
        x[:] = 0
        return scores

    kept = X.copy()
    assert evaluate_robustness(writes, X, Y, SEARCH).clean.hits == (MODEL.predict(X) == Y).sum()
    np.testing.assert_array_equal(X, kept)


def test_a_function_that_remembers_passes_no_check() -> None:
    """A cache that answers near duplicates as before hides every example from the search."""
    known: list[tuple[Any, Any]] = []

    def cached(x: Any) -> Any:
        found = []
        for row in x:
            near = next((s for r, s in known if np.abs(r - row).max() <= 0.11), None)
            if near is None:
                near = probabilities(row[None])[0]
                known.append((row.copy(), near))
            found.append(near)
        return np.array(found)

    report = evaluate_robustness(cached, X[::5], Y[::5], SEARCH)
    assert "stateless" in [check.name for check in report.checks if check.outcome != "pass"]


def test_a_function_that_holds_what_cannot_be_copied_is_measured_all_the_same() -> None:
    lock = threading.Lock()

    def locked(x: Any) -> Any:
        with lock:
            return probabilities(x)

    report = evaluate_robustness(locked, X, Y, SEARCH)
    reason = next(each.reason for each in report.checks if each.name == "stateless")
    assert "which cannot be copied" in reason


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _: None, "expected scores of classes"),
        (lambda _: [[1, 2], [3]], "expected scores of classes"),
        (lambda x: ["cat"] * len(x), "expected scores of classes"),
        (lambda x: probabilities(x)[:1], "one row for each of 149 inputs"),
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda x: probabilities(x) * 100, "sum to 100"),
        (MODEL.predict, r"numpy\.eye\(k\)"),
    ],
)
def test_what_is_no_score_is_refused(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        adapt(function).logits(X)


@pytest.mark.parametrize("option", [{"device": "cuda"}, {"precision": "bfloat16"}])
def test_options_of_torch_are_refused(option: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        adapt(probabilities, **option)


def test_token_ids_reach_a_function_as_integers_where_it_takes_them() -> None:
    def embedded(tokens: NDArray[Any]) -> Any:
        return np.eye(4)[tokens].sum(axis=1)  # which floats do not index

    tokens = np.array([[0, 1, 1], [3, 3, 2]])
    np.testing.assert_array_equal(
        adapt(embedded, output="logits").logits(tokens), [[1, 2, 0, 0], [0, 0, 1, 2]]
    )


def test_a_function_that_no_other_process_can_have_is_refused_by_name() -> None:
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(UsageError, match="cannot be sent to another process"),
    ):
        evaluate_robustness(lambda x: probabilities(x), X, Y, SEARCH, executor=pool)  # noqa: PLW0108 - a local one is meant


def test_a_function_shows_its_name_and_a_class_is_none() -> None:
    assert "probabilities" in repr(FunctionAdapter(probabilities))
    with pytest.raises(UsageError, match="cannot adapt"):
        adapt(LogisticRegression.__mro__[-1])
