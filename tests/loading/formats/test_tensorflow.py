import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import DigestMismatch, FormatRefused, UnsafeContent, UsageError
from mlsecops.signing import Signer, sign
from tests.loading.conftest import Trusting

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

X = np.ones((2, 4), np.float32)
TABLE = "InitializeTableFromTextFileV2"  # reads the asset: to be allowed by name


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


def network(seed: int = 0, width: int = 3) -> Any:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(2)]
    )


@pytest.fixture(scope="module")
def net() -> Any:
    return network()


@pytest.mark.parametrize("tier", ["sealed", "pinned"])
@pytest.mark.parametrize("name", ["model.h5", "old.hdf5", "model.weights.h5"])
def test_weights_in_hdf5_fill_the_callers_model(  # noqa: PLR0917 - fixtures
    net: Any, tmp_path: Path, signer: Signer, trusting: Trusting, name: str, tier: str
) -> None:
    file = tmp_path / name
    net.save_weights(file) if "weights" in name else net.save(file)
    sign(file, signer)
    mine = network(1)
    loaded = trusting(tier=tier).load(file, into=mine)
    assert loaded.model is mine
    np.testing.assert_allclose(mine(X), net(X), rtol=1e-6)
    other = network(1, width=5)
    before = other.get_weights()
    with pytest.raises(FormatRefused, match="do not fit"):
        trusting(tier=tier).load(file, into=other)
    assert all((a == b).all() for a, b in zip(other.get_weights(), before, strict=True))


def test_a_whole_hdf5_model_loads_and_weights_alone_ask_for_a_model(
    net: Any, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    net.save(tmp_path / "model.h5")
    net.save_weights(tmp_path / "model.weights.h5")
    for name in ("model.h5", "model.weights.h5"):
        sign(tmp_path / name, signer)
    loaded = trusting().load(tmp_path / "model.h5")
    np.testing.assert_allclose(loaded.model(X), net(X), rtol=1e-6)
    assert loaded.adapter.framework == "keras"
    with pytest.raises(FormatRefused, match="into="):
        trusting().load(tmp_path / "model.weights.h5")


def test_a_whole_hdf5_model_with_a_lambda_is_refused(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "model.h5")
    sign(tmp_path / "model.h5", signer)
    with pytest.raises(UnsafeContent, match="Lambda"):
        trusting().load(tmp_path / "model.h5")


@pytest.fixture
def saved(tmp_path: Path, signer: Signer) -> Any:
    class Doubler(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            asset = Path(tmp_path, "words.txt")
            asset.write_text("a\nb\n")
            self.words = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(asset), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                -1,
            )  # fmt: skip
            self.weight = tf.Variable([2.0, 3.0])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, words: Any) -> Any:
            return tf.gather(self.weight, self.words.lookup(words))

    place = tmp_path / "model"
    tf.saved_model.save(Doubler(), place)
    sign(place, signer)
    return place


@pytest.mark.parametrize("tier", ["sealed", "pinned", "private-copy"])
def test_a_saved_model_loads_with_variables_and_assets(
    saved: Any, trusting: Trusting, tier: str
) -> None:
    loaded = trusting(tier=tier, allow_globals=[TABLE]).load(saved)
    assert loaded.model(tf.constant(["b", "a"])).numpy().tolist() == [3.0, 2.0]
    assert (loaded.format, loaded.tier, loaded.adapter) == ("savedmodel", tier, None)


def test_every_file_of_a_saved_model_is_covered(saved: Any, trusting: Trusting) -> None:
    files = [path for path in saved.rglob("*") if path.is_file() and path.name != "model.sig"]
    assert len(files) >= 5
    for path in files:
        copy = saved.with_name("copy")
        shutil.copytree(saved, copy)
        other = copy / path.relative_to(saved)
        other.write_bytes(other.read_bytes() + b"x")
        with pytest.raises(DigestMismatch, match=path.name):
            trusting().load(copy)
        shutil.rmtree(copy)


def test_a_saved_model_holds_no_other_models_and_fills_none(
    saved: Any, trusting: Trusting, signer: Signer
) -> None:
    with pytest.raises(UsageError, match="whole model"):
        trusting(allow_globals=[TABLE]).load(saved, into=network())
    (saved / "extra.pkl").write_bytes(b"x")
    sign(saved, signer)
    with pytest.raises(FormatRefused, match=r"extra\.pkl"):
        trusting().load(saved)
