import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    UnsafeContent,
    UsageError,
)
from mlsecops.loading.readers import pickle_reader
from mlsecops.signing import Signer, sign
from tests.attackers import loading as attack
from tests.loading.conftest import Trusting

joblib = pytest.importorskip("joblib")
torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from sklearn.linear_model import LogisticRegression  # noqa: E402 - skipped without it
from sklearn.pipeline import make_pipeline  # noqa: E402 - as above
from sklearn.preprocessing import OneHotEncoder  # noqa: E402 - as above

TIERS = ("sealed", "pinned", "private-copy")
ROWS = np.array([["a"], ["b"], ["c"], ["b"]], dtype=object)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture(scope="module")
def estimator() -> Any:
    return make_pipeline(OneHotEncoder(), LogisticRegression()).fit(ROWS, [0, 1, 0, 1])


WRITERS = {
    "model.joblib": joblib.dump,
    "zlib.joblib": lambda model, path: joblib.dump(model, path, compress=3),
    "xz.joblib": lambda model, path: joblib.dump(model, path, compress=("xz", 3)),
    "model.pkl": lambda model, path: Path(path).write_bytes(pickle.dumps(model)),
    "old.pkl": lambda model, path: Path(path).write_bytes(pickle.dumps(model, protocol=2)),
}


@pytest.fixture(params=[*WRITERS, "model.skops"])
def file(request: pytest.FixtureRequest, tmp_path: Path, estimator: Any, signer: Signer) -> Path:
    place = tmp_path / request.param
    if place.suffix == ".skops":
        pytest.importorskip("skops.io").dump(estimator, place)
    else:
        WRITERS[request.param](estimator, place)
    sign(place, signer)
    return place


@pytest.mark.parametrize("tier", TIERS)
def test_an_estimator_loads_and_predicts_as_before(
    file: Path, estimator: Any, trusting: Trusting, tier: str
) -> None:
    loaded = trusting(tier=tier).load(file)
    np.testing.assert_array_equal(loaded.model.predict_proba(ROWS), estimator.predict_proba(ROWS))
    assert loaded.adapter.framework == "sklearn"
    assert loaded.tier == tier
    with pytest.raises(UsageError, match="whole model"):
        trusting().load(file, into=estimator)


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "old.pkl"])
def test_a_name_that_the_check_did_not_find_is_not_imported(
    tmp_path: Path, estimator: Any, name: str
) -> None:
    file = tmp_path / name
    WRITERS[name](estimator, file)
    names = {"joblib.numpy_pickle.NumpyArrayWrapper"} if name.endswith("joblib") else set()
    with pytest.raises(UnsafeContent, match="did not find"):
        pickle_reader.read_pickle(str(file), names=names)


def test_a_pickle_that_calls_is_stopped_by_the_reader_alone(tmp_path: Path) -> None:
    for name, data in attack.pickles_that_run_code(tmp_path / "ran").items():
        (tmp_path / "m.pkl").write_bytes(data)
        with pytest.raises((UnsafeContent, FormatRefused)):
            pickle_reader.read_pickle(str(tmp_path / "m.pkl"), names={"collections.OrderedDict"})
        assert not (tmp_path / "ran").exists(), name


def test_an_object_array_in_joblibs_file_is_bound_to_the_same_list(tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self) -> Any:
            return (Path.mkdir, (tmp_path / "ran",))

    array = np.array([Poison(), None], dtype=object)
    joblib.dump(array, tmp_path / "m.joblib")
    wrapper = {"joblib.numpy_pickle.NumpyArrayWrapper", "numpy.ndarray", "numpy.dtype"}
    with pytest.raises((UnsafeContent, FormatRefused)):
        pickle_reader.read_pickle(str(tmp_path / "m.joblib"), names=wrapper)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_may_not_refer_outside(tmp_path: Path) -> None:
    class Outside(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return "x" if value == 1 else None

    held = io.BytesIO()
    Outside(held).dump([1])
    (tmp_path / "m.pkl").write_bytes(held.getvalue())
    with pytest.raises(UnsafeContent, match="outside the pickle"):
        pickle_reader.read_pickle(str(tmp_path / "m.pkl"), names=())


def scripted() -> Any:
    torch.manual_seed(0)
    return torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3))


def test_code_is_loaded_only_when_signed_and_allowed_by_name(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file, net = tmp_path / "model.pt", scripted()
    net.save(str(file))
    sign(file, signer)
    with pytest.raises(UnsafeContent, match="carries code"):
        trusting().load(file)
    with pytest.raises(UnsafeContent, match="carries code"):
        trusting(allow_globals=["pt2"]).load(file)
    loaded = trusting(allow_globals=["torchscript"]).load(file)
    rows = np.ones((2, 3), np.float32)
    expected = net(torch.from_numpy(rows)).softmax(dim=1).detach()
    np.testing.assert_allclose(loaded.adapter.predict(rows), expected, rtol=1e-5)


def test_an_exported_program_is_loaded_when_allowed_by_name(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    net, file = torch.nn.Linear(3, 2), tmp_path / "model.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3),)), file)
    sign(file, signer)
    with pytest.raises(UnsafeContent, match="carries code"):
        trusting().load(file)
    loaded = trusting(allow_globals=["pt2"]).load(file)
    torch.testing.assert_close(loaded.model(torch.ones(1, 3)), net(torch.ones(1, 3)))


@pytest.fixture
def onnx_folder(tmp_path: Path, signer: Signer) -> Path:
    onnx = pytest.importorskip("onnx")
    weights = np.arange(600, dtype=np.float32).reshape(300, 2)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 300])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    place = tmp_path / "model"
    place.mkdir()
    onnx.save(
        onnx.helper.make_model(graph),
        place / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    sign(place, signer)
    return place


@pytest.mark.parametrize("tier", TIERS)
def test_onnx_loads_with_its_tensors_from_beside(
    onnx_folder: Path, trusting: Trusting, tier: str
) -> None:
    import onnx  # noqa: PLC0415 - the fixture skips without it

    loaded = trusting(tier=tier).load(onnx_folder)
    onnx.checker.check_model(loaded.model)
    (held,) = loaded.model.graph.initializer
    expected = np.arange(600, dtype=np.float32).reshape(300, 2)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(held), expected)
    assert (loaded.tier, loaded.format) == (tier, "onnx")


def test_onnx_whose_tensors_are_elsewhere_is_refused(
    onnx_folder: Path, trusting: Trusting, signer: Signer
) -> None:
    (onnx_folder / "weights.bin").rename(onnx_folder / "others.bin")
    sign(onnx_folder, signer)
    with pytest.raises(UnsafeContent, match=r"weights\.bin"):
        trusting().load(onnx_folder)
    (onnx_folder / "others.bin").rename(onnx_folder / "weights.bin")
    (onnx_folder / "more.bin").write_bytes(b"x")
    sign(onnx_folder, signer)
    with pytest.raises(FormatRefused, match="got more"):
        trusting().load(onnx_folder)


def test_onnx_with_changed_or_short_tensors_is_refused(
    onnx_folder: Path, trusting: Trusting, signer: Signer
) -> None:
    data = onnx_folder / "weights.bin"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(DigestMismatch, match=r"weights\.bin"):
        trusting().load(onnx_folder)
    sign(onnx_folder, signer)
    with pytest.raises(UnsafeContent, match="expected a file of the model"):
        trusting().load(onnx_folder)


def test_onnx_alone_does_not_reach_for_its_neighbour(
    onnx_folder: Path, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    shutil.copy(onnx_folder / "weights.bin", tmp_path / "weights.bin")
    shutil.copy(onnx_folder / "model.onnx", tmp_path / "alone.onnx")
    sign(tmp_path / "alone.onnx", signer)
    with pytest.raises(UnsafeContent, match=r"weights\.bin"):
        trusting().load(tmp_path / "alone.onnx")
