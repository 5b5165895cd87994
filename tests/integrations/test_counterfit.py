from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.integrations.counterfit import target
from mlsecops.robustness import Endpoint
from tests.attackers.endpoints import served
from tests.attackers.robustness import SoftmaxRegression

X = (0.5 + np.linspace(-0.2, 0.2, 6)[:, None] * np.ones(10)).astype(np.float32)


@pytest.fixture
def model() -> Any:
    weights = np.stack([-np.ones(10), np.ones(10)], axis=1).astype(np.float32)
    return SoftmaxRegression(weights=weights, bias=np.array([5.0, -5.0], dtype=np.float32))


def made(model: Any, x: Any = X, **options: Any) -> Any:
    return target(model, x, name="digits", output_classes=["low", "high"], **options)


def test_a_target_has_everything_that_counterfit_asks_for(model: Any) -> None:
    shaped = made(model)
    assert (shaped.target_name, shaped.data_type, shaped.classifier) == (
        "digits",
        "tabular",
        "closed-box",
    )
    assert shaped.input_shape == (10,)
    assert shaped.output_classes == ["low", "high"]
    shaped.load()
    answers = shaped.predict(shaped.X.tolist())
    assert isinstance(answers, list)
    assert np.allclose(answers, model.predict(X))
    assert np.allclose(shaped.predict(X[0]), model.predict(X[:1]))
    assert shaped.queries == 7


MEMBERS = (
    "load", "predict", "predict_wrapper", "get_samples", "get_sample_labels", "outputs_to_labels",
    "get_results_folder", "fullpath", "get_data_type_obj", "target_id", "active_attack", "attacks",
    "logger",
)  # fmt: skip
"""Public members of `CFTarget` in Counterfit 1.1.0, `counterfit/core/targets.py`."""


def test_a_target_has_every_member_of_counterfits_own_class(model: Any, tmp_path: Any) -> None:
    shaped = made(model)
    assert not [name for name in MEMBERS if not hasattr(shaped, name)]
    assert shaped.get_samples(2).shape == (1, 10)
    assert shaped.get_samples(range(3)).shape == (3, 10)
    output, labels = shaped.get_sample_labels(X)
    assert np.allclose(output, model.predict(X))
    assert labels == ["low", "low", "low", "high", "high", "high"]
    assert shaped.get_results_folder(str(tmp_path / "results")).endswith("results")


def test_the_logger_that_an_attack_sets_sees_every_query(model: Any) -> None:
    seen: list[Any] = []
    shaped = made(model)
    shaped.logger = SimpleNamespace(log=seen.append)
    shaped.predict_wrapper(X)
    assert len(seen) == 6
    assert seen[0]["input"] == X[0].tolist()


def test_a_target_is_of_counterfits_class_where_that_is_imported(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ModuleType("counterfit.core.targets")
    own.CFTarget = type("CFTarget", (), {})  # type: ignore[attr-defined] # a stand-in for it
    monkeypatch.setitem(sys.modules, "counterfit.core.targets", own)
    assert isinstance(made(model), own.CFTarget)


def test_inputs_with_two_or_three_axes_are_images(model: Any) -> None:
    assert made(model, X.reshape(6, 1, 2, 5)).data_type == "image"
    assert made(model, X.reshape(6, 2, 5)).predict(X) == made(model).predict(X)
    assert made(model, X.reshape(6, 2, 5), data_type="tabular").data_type == "tabular"


def test_a_target_that_cannot_work_is_wrong_use(model: Any) -> None:
    for x in (X[0], X[:0]):
        with pytest.raises(UsageError, match="expected samples"):
            made(model, x)
    with pytest.raises(UsageError, match="two classes"):
        target(model, X, name="digits", output_classes=["one"])
    with pytest.raises(UsageError, match="audio"):
        made(model, data_type="audio")
    with pytest.raises(UsageError, match=r"shape \(10,\)"):
        made(model).predict(np.zeros((2, 3)))


def test_counterfits_own_way_of_attacking_runs_on_a_served_model(model: Any) -> None:
    """Counterfit wraps ``predict`` in ART's black-box classifier and runs HopSkipJump on it."""
    from art.attacks.evasion import HopSkipJump  # noqa: PLC0415 - the import takes seconds
    from art.estimators.classification import BlackBoxClassifier  # noqa: PLC0415 - as above

    with served(model.predict) as server:
        shaped = made(Endpoint(server.url))
        assert shaped.endpoint == server.url
        closed = BlackBoxClassifier(
            lambda x: np.asarray(shaped.predict(x), dtype=np.float32),
            input_shape=shaped.input_shape,
            nb_classes=len(shaped.output_classes),
            clip_values=(0, 1),
        )
        attack = HopSkipJump(
            closed, norm=np.inf, max_iter=2, max_eval=50, init_eval=10, verbose=False
        )
        examples = attack.generate(shaped.X)
    before, after = (model.logits(x).argmax(axis=1) for x in (X, examples))
    assert (before != after).all()
    assert shaped.queries > 100
