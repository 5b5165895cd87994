import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from mlsecops.errors import FormatRefused, FrameworkTooOld, UnsafeContent  # noqa: E402 - after the frameworks' settings
from mlsecops.findings import Severity  # noqa: E402 - as above
from mlsecops.loading import Limits, SecureLoader, scan  # noqa: E402 - as above
from mlsecops.loading.scanner import examine  # noqa: E402 - as above
from mlsecops.loading.snapshot import Source  # noqa: E402 - as above
from mlsecops.signing import Signer, TrustPolicy, sign  # noqa: E402 - as above
from tests.attackers import companions  # noqa: E402 - as above
from tests.attackers import loading as attack  # noqa: E402 - as above

layers = keras.layers
DENSE = "/layers/dense/vars/0"


def network() -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="relu", kernel_regularizer="l2", name="dense"),
            layers.Dropout(0.1),
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "m.keras"
    network().save(place)
    return place


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


def load(file: Path, signer: Signer, **options: Any) -> Any:
    sign(file, signer)
    return SecureLoader(TrustPolicy(keys=[signer.public_key])).load(file, **options)


def rules(file: Path, **options: Any) -> Any:
    verdict = scan(file, **options)
    assert verdict.refused or not verdict.findings
    return {finding.rule for finding in verdict.findings}


def test_a_signed_archive_loads_uncompiled_from_a_sealed_copy(file: Path, signer: Signer) -> None:
    loaded = load(file, signer)
    x = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    np.testing.assert_allclose(loaded.model(x), network()(x), rtol=1e-5)
    np.testing.assert_allclose(loaded.adapter.predict(x), network()(x), rtol=1e-4, atol=1e-6)
    assert loaded.tier == "sealed"
    assert not loaded.model.compiled


def test_weights_fill_the_callers_model_and_a_misfit_leaves_it(file: Path, signer: Signer) -> None:
    mine = keras.models.clone_model(network())
    mine.set_weights([np.zeros_like(w) for w in mine.get_weights()])
    assert load(file, signer, into=mine).model is mine
    for got, expected in zip(mine.get_weights(), network().get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    other = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    before = other.get_weights()
    with pytest.raises(FormatRefused, match="do not fit"):
        load(file, signer, into=other)
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))


def test_functional_models_with_operations_pass(tmp_path: Path) -> None:
    first = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(first)
    x = layers.BatchNormalization()(x)
    x = keras.activations.relu(x) + keras.ops.mean(x, axis=-1, keepdims=True)
    x = layers.Add()([x, layers.Conv2D(4, 1)(first)])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(first, layers.Dense(2, activation=keras.activations.softmax)(x))
    model.save(tmp_path / "f.keras")
    inner = keras.Sequential([keras.Input((4,)), layers.LeakyReLU(), layers.Dense(3)])
    nested = keras.Sequential(
        [keras.Input((5, 4)), layers.TimeDistributed(inner), layers.Bidirectional(layers.LSTM(3))]
    )
    nested.save(tmp_path / "n.keras")
    assert scan(tmp_path).findings == ()


def test_a_lambda_layer_is_refused(tmp_path: Path, signer: Signer) -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * 2)])
    place = tmp_path / "m.keras"
    model.save(place)
    assert "keras-lambda" in rules(place)
    with pytest.raises(UnsafeContent):
        load(place, signer)


def replaced(**entries: Any) -> Any:
    """Swap one layer for another object."""

    def change(config: Any) -> None:
        config["config"]["layers"][2].update(entries)

    return change


@pytest.mark.parametrize(
    "entries",
    [
        {"module": "os", "class_name": "system"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.layers", "class_name": "TFSMLayer"},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper"},
        {"module": "keras.layers", "class_name": "StringLookup"},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "mine>Evil"},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "keras.config", "class_name": "function", "config": "enable_unsafe"},
        {"module": None, "class_name": "Dense"},
        {"module": ["keras.layers"], "class_name": "Dense"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"class_name": "__typespec__", "spec_name": "TensorSpec"},
    ],
    ids=str,
)
def test_whatever_is_not_on_the_list_is_refused(file: Path, entries: Any) -> None:
    attack.keras_config(file, replaced(**entries))
    assert rules(file) & {"keras-object", "keras-lambda"}


def test_an_object_hidden_deep_in_a_known_layer_is_refused(file: Path) -> None:
    hidden = {"module": "os", "class_name": "system", "config": {}}
    attack.keras_config(
        file, lambda config: config["config"]["layers"][1]["config"].update(x=[{"y": hidden}])
    )
    assert rules(file) == {"keras-object"}


def test_an_audited_class_is_allowed_by_name(file: Path) -> None:
    attack.keras_config(file, replaced(module="mine", class_name="Own", registered_name="mine>Own"))
    assert rules(file) == {"keras-object"}
    verdict = scan(file, allow_globals=["mine>Own"])
    assert not verdict.refused
    assert [found.rule for found in verdict.findings] == ["allowed-by-name"]


@pytest.mark.parametrize(
    ("names", "needed"),
    [(["mine>Own", "mine>Other"], {"mine>Own"}), (["mine>Other"], set()), ([], set())],
)
def test_the_exceptions_that_were_needed_are_known(file: Path, names: Any, needed: Any) -> None:
    attack.keras_config(file, replaced(module="mine", class_name="Own", registered_name="mine>Own"))
    source = Source(name="m.keras", path=str(file), size=file.stat().st_size)
    _, examination = examine(source, allow_globals=names, limits=Limits())
    assert examination.exceptions == needed


def compiled(**entries: Any) -> Any:
    return lambda config: config.update(compile_config=entries)


@pytest.mark.parametrize(
    "entries",
    [
        {"loss": companions.compiled_with("os", "system")},
        {"loss": companions.compiled_with("subprocess", "call", registered_name="x>call")},
        {"metrics": [[companions.compiled_with("builtins", "eval")]]},
        {"optimizer": {"module": "keras.utils", "class_name": "get_file", "config": {}}},
        {"weighted_metrics": {"a": companions.compiled_with("evil.losses", "run")}},
        {"loss": companions.compiled_with("torch.hub", "load", registered_name="mine>load")},
        {"loss": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}},
        {"metrics": ["accuracy", {"module": "posix", "class_name": "system", "config": {}}]},
    ],
    ids=str,
)
def test_what_a_model_was_compiled_with_is_refused_by_name(file: Path, entries: Any) -> None:
    attack.keras_config(file, compiled(**entries))
    assert scan(file).refused
    whole = file.with_suffix(".h5")
    network().save(whole)
    assert not scan(whole).refused
    with h5py.File(whole, "r+") as opened:
        opened.attrs["training_config"] = json.dumps(entries)
    assert scan(whole).refused


@pytest.mark.parametrize("module", [None, "__main__", "my_losses.focal"])
def test_a_registered_loss_of_the_users_own_is_of_medium_severity(
    file: Path, module: str | None
) -> None:
    own = companions.compiled_with(module, "focal", registered_name="mine>focal")
    attack.keras_config(file, compiled(loss=own))
    verdict = scan(file)
    assert not verdict.refused
    assert [found.severity for found in verdict.findings] == [Severity.MEDIUM]
    assert scan(file, allow_globals=["mine>focal"]).findings[0].rule == "allowed-by-name"


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_deeply_nested_configuration_is_refused(file: Path, depth: int) -> None:
    def edit(info: Any, data: Any) -> Any:
        deep = b"[" * depth + b"]" * depth
        return info.filename, b'{"x":' + deep + b"}" if info.filename == "config.json" else data

    attack.rewritten_zip(file, edit)
    assert rules(file) & {"limit-exceeded", "malformed"}


def external_link(weights: h5py.File) -> None:
    del weights[DENSE]
    weights[DENSE] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(weights: h5py.File) -> None:
    del weights[DENSE]
    weights[DENSE] = h5py.SoftLink("/layers/last/vars/0")


def external_storage(weights: h5py.File) -> None:
    del weights[DENSE]
    weights.create_dataset(DENSE, (6, 5), "f4", external=[("/etc/passwd", 0, 120)])


def virtual(weights: h5py.File) -> None:
    del weights[DENSE]
    layout = h5py.VirtualLayout((6, 5), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6, 5))
    weights.create_virtual_dataset(DENSE, layout)


def shape_bomb(weights: h5py.File) -> None:
    del weights[DENSE]
    weights.create_dataset(DENSE, (1 << 20, 1 << 20), "f4", chunks=(64, 64))


def text_bomb(weights: h5py.File) -> None:
    weights.create_dataset("text", (1 << 40,), h5py.string_dtype(), chunks=(1024,))


def references(weights: h5py.File) -> None:
    weights.create_dataset("refs", (2,), h5py.ref_dtype)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (external_link, "hdf5-link"),
        (soft_link, "hdf5-link"),
        (external_storage, "hdf5-external"),
        (virtual, "hdf5-external"),
        (shape_bomb, "limit-exceeded"),
        (text_bomb, "limit-exceeded"),
        (references, "hdf5-object"),
    ],
)
def test_weights_that_reach_outside_or_declare_too_much_are_refused(
    file: Path, change: Any, rule: str
) -> None:
    attack.keras_weights(file, change)
    assert rules(file) == {rule}


def test_a_further_entry_is_refused(file: Path) -> None:
    attack.added_entry(file, "assets/vocabulary.txt")
    assert rules(file) == {"malformed"}


def test_an_old_keras_is_refused(
    file: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras, "__version__", "3.13.1")
    with pytest.raises(FrameworkTooOld, match=r"3\.13\.2"):
        load(file, signer)
