import copy
import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
keras = pytest.importorskip("keras")

from mlsecops.adapters import adapt, tensorflow  # noqa: E402 - after the frameworks' settings
from mlsecops.errors import FormatRefused, UsageError  # noqa: E402 - as above
from mlsecops.robustness import Square, evaluate_robustness  # noqa: E402 - as above

layers = keras.layers


def network(*tail: Any, final: Any = "softmax") -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(3, 3, activation="tanh"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(4, activation=final),
            *tail,
        ]
    )


@pytest.fixture
def x() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((6, 6, 6, 1), dtype=np.float32)


@pytest.fixture
def y() -> NDArray[np.int64]:
    return np.arange(6) % 4


def numeric_gradient(
    view: Any,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    place: tuple[int, ...],
    step: float = 1e-2,
) -> Any:
    shift = np.zeros(x.shape[1:], np.float32)
    shift[place] = step

    def loss(values: NDArray[np.float32]) -> Any:
        logits = view.logits(values).astype(np.float64)
        peak = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
        return total - logits[np.arange(len(y)), y]

    return (loss(x + shift) - loss(x - shift)) / (2 * step)


@pytest.mark.parametrize(
    "model",
    [network(), network(final=None), network(layers.Softmax(), final=None)],
    ids=["activation", "logits", "softmax layer"],
)
def test_gradient_equals_finite_differences(
    model: Any, x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    view = adapt(model)
    logits, gradient = view.loss_gradient(x, y)
    for place in [(0, 0, 0), (2, 3, 0), (5, 5, 0)]:
        numeric = numeric_gradient(view, x, y, place)
        np.testing.assert_allclose(gradient[(slice(None), *place)], numeric, rtol=2e-2, atol=2e-4)
    np.testing.assert_allclose(logits, view.logits(x), rtol=1e-4, atol=1e-5)


def test_pullback_of_the_cross_entropy_is_its_gradient(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    def slope(logits: NDArray[np.float32]) -> Any:
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True) - np.eye(4)[y]

    view = adapt(network())
    logits, gradient = view.pullback(x, slope)
    expected = view.loss_gradient(x, y)
    np.testing.assert_allclose(logits, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-3, atol=1e-5)
    with pytest.raises(UsageError, match="shape of the logits"):
        view.pullback(x, lambda scores: scores[:, :1])


def test_logits_stay_finite_and_ordered_where_the_softmax_saturates(x: NDArray[np.float32]) -> None:
    model = network()
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 1000, bias])
    logits, gradient = adapt(model).loss_gradient(x, np.zeros(6, int))
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() > 100
    wrong = logits.argmax(axis=1) != 0
    assert wrong.any()
    assert (np.abs(gradient[wrong]).max(axis=(1, 2, 3)) > 0).all()


def test_predict_gives_the_models_probabilities_and_dropout_is_off(x: NDArray[np.float32]) -> None:
    model = network()
    view = adapt(model)
    np.testing.assert_allclose(view.predict(x), model(x, training=False), rtol=1e-4, atol=1e-6)


def test_features_are_the_penultimate_activations(x: NDArray[np.float32]) -> None:
    model = network(final=None)
    view = adapt(model)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(
        view.features(x) @ kernel + bias, view.logits(x), rtol=1e-4, atol=1e-5
    )


def test_a_new_batch_size_does_not_trace_again(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    view = adapt(network())
    view.loss_gradient(x, y)
    for rows in (1, 2, 5):
        view.loss_gradient(x[:rows], y[:rows])
        view.logits(x[:rows])
    [engine] = view._compiled.values()
    assert engine._slope.experimental_get_tracing_count() == 1
    assert engine._run.experimental_get_tracing_count() == 1


class Counting(layers.Layer):
    def build(self, _: object) -> None:
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        self.count.assign_add(1.0)
        return x


def test_the_model_is_left_exactly_as_it_was(x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), Counting(), layers.Flatten(), layers.Dense(4)]
    )
    before = [np.array(value) for value in model.get_weights()]
    view = adapt(model)
    view.loss_gradient(x, y)
    view.predict(x)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_adapter_is_copied_with_its_options(x: NDArray[np.float32]) -> None:
    model = network()
    copied = copy.deepcopy(adapt(model, channels_first=True, classes=4))
    assert copied.model is not model
    assert copied.channels_first
    assert np.allclose(copied.logits(x), adapt(model).logits(x), atol=1e-6)


def test_a_subclassed_model_gives_logits_before_its_softmax_and_no_features(
    x: NDArray[np.float32],
) -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def call(self, x: Any, training: Any = False) -> Any:  # noqa: FBT002 - Keras' own signature
            return self.inner(x, training=training)

    model = Own()
    view = adapt(model)
    np.testing.assert_allclose(view.logits(x), adapt(model.inner).logits(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="subclassed"):
        view.features(x)


def test_one_sigmoid_column_becomes_two_classes(x: NDArray[np.float32]) -> None:
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(1, activation="sigmoid")]
    )
    np.testing.assert_allclose(adapt(model).predict(x)[:, 1], np.asarray(model(x))[:, 0], rtol=1e-4)


def test_weights_travel_as_hdf5_and_all_or_none(x: NDArray[np.float32]) -> None:
    source, target = adapt(network()), adapt(network())
    target.model.set_weights([weight + 1 for weight in target.model.get_weights()])
    before = target.model.get_weights()
    other = adapt(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))
    for data in (other.encode(), b"nonsense"):
        with pytest.raises(FormatRefused):
            target.decode(data)
    for mine, old in zip(target.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    target.decode(source.encode())
    np.testing.assert_allclose(target.predict(x), source.predict(x), rtol=1e-6)


def test_a_backend_of_which_nothing_is_known_predicts_without_gradients(
    x: NDArray[np.float32], y: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    expected = adapt(model)
    monkeypatch.setattr(tensorflow, "ENGINES", {})  # as on JAX, say
    view = adapt(model)
    assert not view.differentiable
    np.testing.assert_allclose(view.predict(x), expected.predict(x), rtol=1e-4)
    np.testing.assert_allclose(view.features(x), expected.features(x), rtol=1e-4)
    with pytest.raises(UsageError, match="no gradients"):
        view.loss_gradient(x, y)


def test_a_model_that_cuts_its_gradient_off_has_none_and_is_no_error(
    x: NDArray[np.float32], y: NDArray[np.int64]
) -> None:
    inputs = keras.Input((6, 6, 1))
    cut = layers.Lambda(keras.ops.stop_gradient)(inputs)
    model = keras.Model(inputs, network()(cut))
    view = adapt(model)
    for _, gradient in (
        view.loss_gradient(x, y), view.pullback(x, np.ones_like),
    ):  # fmt: skip
        assert gradient.shape == x.shape
        assert not gradient.any()


def test_the_torch_backend_gives_the_same_gradients_as_finite_differences() -> None:
    pytest.importorskip("torch")
    program = """
        import keras, numpy as np
        from mlsecops.adapters import adapt
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(),
            keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(4, activation="softmax")])
        x = np.random.default_rng(0).random((5, 6, 6, 1), dtype=np.float32)
        y = np.arange(5) % 4
        view = adapt(model)
        assert view.framework == "keras"
        logits, gradient = view.loss_gradient(x, y)
        def loss(values):
            z = view.logits(values).astype(float)
            return np.log(np.exp(z).sum(axis=1)) - z[np.arange(5), y]
        step = np.zeros((6, 6, 1), np.float32); step[2, 3] = 1e-2
        numeric = (loss(x + step) - loss(x - step)) / 2e-2
        assert np.allclose(gradient[:, 2, 3, 0], numeric, rtol=2e-2, atol=2e-4)
        def slope(z):
            p = np.exp(z)
            return p / p.sum(axis=1, keepdims=True) - np.eye(4)[y]
        assert np.allclose(view.pullback(x, slope)[1], gradient, rtol=1e-3, atol=1e-5)
        assert view.features(x).shape == (5, 8)
        assert all(v.value.requires_grad for v in model.trainable_variables)
        print("same")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize("declared", ["int32", "float32"])
def test_token_ids_stay_integers_where_the_model_takes_them(declared: str) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((3,), dtype=declared), *layers])
    ids = np.array([[1, 2, 3], [4, 5, 19]])
    expected = keras.ops.convert_to_numpy(model(ids))
    view = adapt(model)
    np.testing.assert_allclose(view.logits(ids), expected, rtol=1e-5)
    np.testing.assert_allclose(view.logits(ids.astype(np.uint8)), expected, rtol=1e-5)
    assert view.features(ids).shape == (2, 12)


def test_integers_for_a_model_of_real_numbers_still_have_gradients() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 4)
    labels = np.array([0, 2])
    found = adapt(model).loss_gradient(pixels, labels)[1]
    expected = adapt(model).loss_gradient(pixels.astype(np.float32), labels)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_variable_that_calls_change_is_set_back_and_said_to_be_so(
    x: NDArray[np.float32],
) -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), Counting(), *network().layers])
    view = adapt(model)
    view.logits(x)
    assert float(model.layers[0].count.numpy()) == 0
    y = view.logits(x).argmax(axis=1)
    report = evaluate_robustness(model, x, y, Square(0.1, queries=5))
    reason = next(each for each in report.checks if each.name == "stateless")
    assert reason.outcome == "fail"
    assert "which are set back after each" in reason.reason
    honest = evaluate_robustness(network(), x, y, Square(0.1, queries=5))
    assert next(c for c in honest.checks if c.name == "stateless").outcome == "pass"
