from pathlib import Path
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


@pytest.fixture(scope="module")
def three() -> Any:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    return x, np.array(["a", "b", "c"])[x[:, :3].argmax(axis=1)]


def without_probabilities() -> dict[str, Any]:
    from sklearn import ensemble, model_selection, neighbors, pipeline, preprocessing, svm, tree  # noqa: PLC0415 - only where it is installed

    pairs = [("a", tree.DecisionTreeClassifier(random_state=0)), ("b", svm.LinearSVC())]
    return {
        "SVC": svm.SVC(),
        "pairs": svm.SVC(decision_function_shape="ovo"),
        "LinearSVC": svm.LinearSVC(),
        "ridge": linear.RidgeClassifier(),
        "perceptron": linear.Perceptron(),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC()),
        "search": model_selection.GridSearchCV(
            svm.SVC(decision_function_shape="ovo"), {"C": [1, 10]}, cv=2
        ),
        "hard voting": ensemble.VotingClassifier(pairs),
        "radius": neighbors.NearestCentroid(),
    }


@pytest.mark.parametrize("name", without_probabilities())
@pytest.mark.parametrize("count", [2, 3])
def test_a_classifier_without_probabilities_has_scores(three: Any, name: str, count: int) -> None:
    x, y = three
    x, y = (x, y) if count == 3 else (x[y != "c"], y[y != "c"])
    model = without_probabilities()[name].fit(x, y)
    view = adapt(model)
    answers = view.predict(x)
    assert answers.shape == (len(x), count)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert (model.classes_[view.logits(x).argmax(axis=1)] == model.predict(x)).mean() > 0.98
    assert view.scores in {"decisions", "labels", "probabilities"}


def test_models_without_classes_are_refused(three: Any) -> None:
    from sklearn import ensemble, multioutput  # noqa: PLC0415 - only where it is installed

    x, y = three
    several = multioutput.MultiOutputClassifier(linear.RidgeClassifier()).fit(x, np.c_[y, y])
    for model in (linear.LinearRegression(), ensemble.IsolationForest(), several):
        with pytest.raises(UsageError, match="predict_proba"):
            adapt(model)


def test_integers_reach_the_classifier_as_integers(three: Any) -> None:
    seen: list[Any] = []

    class Watched(linear.LogisticRegression):  # type: ignore[misc] # the library has no types
        def predict_proba(self, rows: Any) -> Any:
            seen.append(rows.dtype)
            return super().predict_proba(rows)

    x, y = three
    view = adapt(Watched().fit((x * 10).astype(np.int64), y))
    view.predict(np.array([[16777217, 2, 3, 4]]))
    assert seen == [np.int64]


def test_a_pipeline_in_skops_that_is_loaded_has_an_adapter(three: Any, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn import pipeline, preprocessing, svm  # noqa: PLC0415 - as above

    from mlsecops.loading import SecureLoader  # noqa: PLC0415 - as above
    from mlsecops.signing import Signer, TrustPolicy, sign  # noqa: PLC0415 - as above

    x, y = three
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC()).fit(x, y)
    skops.dump(model, tmp_path / "m.skops")
    signer = Signer.generate("p256")
    sign(tmp_path / "m.skops", signer)
    loaded = SecureLoader(TrustPolicy(keys=[signer.public_key])).load(tmp_path / "m.skops")
    assert loaded.adapter is not None
    np.testing.assert_allclose(loaded.adapter.predict(x), adapt(model).predict(x))


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
