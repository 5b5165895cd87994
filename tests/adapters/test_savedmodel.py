from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.signing import Signer, TrustPolicy, sign

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


def saved(folder: Path, layers: list[Any], **inputs: Any) -> tuple[Any, Any]:
    """A Keras model, and TensorFlow's view of its SavedModel."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(**inputs), *layers])
    model.export(folder, verbose=False)
    return model, tf.saved_model.load(folder)


def test_a_loaded_savedmodel_is_a_classifier(tmp_path: Path) -> None:
    model, raw = saved(tmp_path / "m", [keras.layers.Dense(3, "softmax")], shape=(4,))
    x = np.random.default_rng(0).random((7, 4), dtype=np.float32)
    view = adapt(raw)
    assert view.framework == "tensorflow"
    np.testing.assert_allclose(view.predict(x), model.predict(x, verbose=0), atol=1e-6)
    logits, slope = view.loss_gradient(x, np.arange(7) % 3)
    expected = adapt(model).loss_gradient(x, np.arange(7) % 3)[1]
    np.testing.assert_allclose(slope, expected, atol=1e-6)
    assert logits.shape == (7, 3)
    with pytest.raises(UsageError, match="activations"):
        view.features(x)


def test_one_column_of_a_savedmodel_is_two_classes(tmp_path: Path) -> None:
    model, raw = saved(tmp_path / "m", [keras.layers.Dense(1, "sigmoid")], shape=(4,))
    x = np.random.default_rng(0).random((7, 4), dtype=np.float32)
    expected = model.predict(x, verbose=0)[:, 0]
    np.testing.assert_allclose(adapt(raw).predict(x)[:, 1], expected, atol=1e-6)


def test_tokens_of_a_savedmodel_stay_integers(tmp_path: Path) -> None:
    layers = [keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(2)]
    model, raw = saved(tmp_path / "m", layers, shape=(3,), dtype="int64")
    tokens = np.array([[1, 2, 3], [4, 5, 19]], dtype=np.int32)
    view = adapt(raw)
    np.testing.assert_allclose(view.logits(tokens), model(tokens), atol=1e-6)
    with pytest.raises(UsageError, match="no gradients"):
        view.loss_gradient(tokens, np.array([0, 1]))
    with pytest.raises(UsageError, match="token ids"):
        view.logits(np.array([[1.5, 2, 3]]))


def test_a_savedmodel_without_a_usable_signature_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.weights = tf.Variable([1.0])
    tf.saved_model.save(module, tmp_path / "m")
    with pytest.raises(UsageError, match="signature"):
        adapt(tf.saved_model.load(tmp_path / "m"))
    text = tf.Module()
    text.call = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None], tf.string, "x")])
    tf.saved_model.save(text, tmp_path / "t", signatures=text.call)
    with pytest.raises(UsageError, match="numbers"):
        adapt(tf.saved_model.load(tmp_path / "t"))


def test_a_savedmodel_that_is_loaded_has_an_adapter(tmp_path: Path) -> None:
    from mlsecops.loading import SecureLoader  # noqa: PLC0415 - where TensorFlow is installed

    _, raw = saved(tmp_path / "m", [keras.layers.Dense(3)], shape=(4,))
    signer = Signer.generate("p256")
    sign(tmp_path / "m", signer)
    loaded = SecureLoader(TrustPolicy(keys=[signer.public_key])).load(tmp_path / "m")
    x = np.ones((2, 4), np.float32)
    assert loaded.adapter is not None
    np.testing.assert_array_equal(loaded.adapter.logits(x), adapt(raw).logits(x))
