from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import adapt
from mlsecops.errors import FormatRefused, UsageError

linear = pytest.importorskip("sklearn.linear_model")


@pytest.fixture
def fitted() -> Any:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2, 3), dtype=np.float32)
    y = (x.reshape(60, -1).sum(axis=1) > 3).astype(int)
    return linear.LogisticRegression().fit(x.reshape(60, -1), y), x, y


def test_probabilities_are_the_classifiers_own(fitted: Any) -> None:
    model, x, _ = fitted
    view = adapt(model)
    expected = model.predict_proba(x.reshape(60, -1))
    np.testing.assert_allclose(view.predict(x), expected, rtol=1e-6)
    np.testing.assert_allclose(np.exp(view.logits(x)), expected, rtol=1e-5)
    assert view.features(x).shape == (60, 6)


def test_gradients_are_refused_and_said_to_be_absent(fitted: Any) -> None:
    model, x, y = fitted
    view = adapt(model)
    assert not view.differentiable
    with pytest.raises(UsageError, match="no gradients"):
        view.loss_gradient(x, y)


def test_a_model_without_probabilities_is_refused() -> None:
    with pytest.raises(UsageError, match="predict_proba"):
        adapt(linear.LinearRegression())


def test_the_classifier_travels_as_skops_and_another_kind_is_refused(fitted: Any) -> None:
    pytest.importorskip("skops")
    model, x, y = fitted
    view = adapt(linear.LogisticRegression().fit(x.reshape(60, -1), 1 - y))
    view.decode(adapt(model).encode())
    np.testing.assert_array_equal(view.predict(x), adapt(model).predict(x))
    other = linear.SGDClassifier(loss="log_loss").fit(x.reshape(60, -1), y)
    for data in (adapt(other).encode(), b"nonsense"):
        with pytest.raises(FormatRefused):
            view.decode(data)
    np.testing.assert_array_equal(view.predict(x), adapt(model).predict(x))
