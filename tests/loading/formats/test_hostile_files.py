"""Every file of the hostile corpus is refused, by the scan and by the loader, and nothing runs."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h5py")

from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.loading import Limits, SecureLoader, scan
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import model_files, model_folders


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hostile")
    trace = folder / "ran"
    return model_folders.corpus(folder, trace), trace


def test_every_hostile_file_is_refused_by_the_scan(hostile: Any) -> None:
    files, trace = hostile
    verdicts = {str(file.relative_to(trace.parent)): scan(file) for file in files}
    assert len(verdicts) >= 250
    assert [name for name, verdict in verdicts.items() if not verdict.refused] == []
    crashed = [n for n, v in verdicts.items() if any(f.rule == "check-failed" for f in v.findings)]
    assert crashed == [], "refused by an error of the check, not by the check"
    assert not trace.exists()


def test_the_loader_refuses_each_of_them_though_it_is_signed(hostile: Any) -> None:
    files, trace = hostile
    signer = Signer.generate("ed25519")
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]))
    for file in files:
        sign(file, signer)
        with pytest.raises(MLSecOpsError) as caught:
            loader.load(file)
        assert not isinstance(caught.value, UsageError), file
        Path(f"{file}.sig").unlink()
    assert not trace.exists()


def test_the_canary_of_the_corpus_works(tmp_path: Path) -> None:
    import pickle  # noqa: PLC0415 - here alone a payload runs

    trace = tmp_path / "ran"
    pickle.loads(model_files.calling("os.mkdir", str(trace)))
    assert trace.exists()


CLEAN = {
    "m.onnx": model_files.onnx(),
    "m.gguf": model_files.gguf(tensors=model_files.gguf_tensor("w", [4]), count=1),
    "m.tflite": model_folders.tflite(),
    "m.keras": model_folders.keras_file(),
    "m.h5": model_folders.whole_h5(),
    "w.h5": model_folders.weights(),
    "saved_model.pb": model_files.saved_model(model_files.graph("Const", "MatMul")),
    "m.skops": model_files.skops_file(
        model_files.skops_node("ObjectNode", "sklearn.svm._classes.SVC")
    ),
    "m.pt": model_files.torch_zip(b"\x80\x02N."),
    "m.joblib": model_files.CONTAINERS[".joblib"](b"\x80\x04N."),
    "m.tar": model_files.tarred({"a/m.pt": model_files.torch_zip(b"\x80\x02N.")}),
    "m.zip": model_files.zipped_names({"a/m.pkl": b"\x80\x02N."}),
}


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_what_the_hostile_files_are_made_from_passes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CLEAN[name])
    verdict = scan(tmp_path / name)
    assert (verdict.findings, verdict.unchecked) == ((), ())


def test_an_onnx_model_with_its_tensor_beside_it_passes_and_its_data_is_known(
    tmp_path: Path,
) -> None:
    assert scan(model_folders.tensor_beside(tmp_path)).findings == ()
    assert scan(tmp_path).unchecked == ()
    (tmp_path / "w.data").write_bytes(b"123")
    assert scan(tmp_path).refused, "shorter than what is read of it"


def test_tensor_data_that_nobody_refers_to_is_unchecked(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(b"1234")
    assert scan(tmp_path).unchecked


@pytest.mark.parametrize("value", ["torchscript", "pt2"])
def test_a_code_format_allowed_by_name_is_unchecked(tmp_path: Path, value: str) -> None:
    name = {"torchscript": "torchscript.pt", "pt2": "exported.pt2"}[value]
    (tmp_path / name).write_bytes(model_folders.code_files()[name])
    verdict = scan(tmp_path / name, allow_globals=[value])
    assert not verdict.refused
    assert verdict.unchecked


def test_names_are_allowed_exactly_in_each_format(tmp_path: Path) -> None:
    wanted = {
        "m.onnx": (model_files.onnx_files()["custom operator"], "ai.onnx.contrib"),
        "m.tflite": (model_folders.tflite_files()["custom"], "MyOwnOp"),
        "saved_model.pb": (model_files.saved_models()["ReadFile"], "ReadFile"),
        "m.skops": (model_files.skops_files()["object"], "os.system"),
        "m.h5": (model_folders.whole_h5(model_folders.hostile_layers()["CVE-2024-3660"]),
                 "keras.layers.Lambda"),
    }  # fmt: skip
    for name, (data, allowed) in wanted.items():
        (tmp_path / name).write_bytes(data)
        assert scan(tmp_path / name, allow_globals=[allowed[:-1]]).refused
    for name, (_, allowed) in wanted.items():
        if name != "m.h5":
            verdict = scan(tmp_path / name, allow_globals=[allowed])
            assert not verdict.refused
            assert {found.rule for found in verdict.findings} == {"allowed-by-name"}
            assert allowed in verdict.findings[0].message
    both = ["keras.layers.Lambda", "None.__lambda__"]
    assert not scan(tmp_path / "m.h5", allow_globals=both).refused


def test_archives_in_archives_are_opened_four_deep_and_then_unchecked(tmp_path: Path) -> None:
    data = b"\x80\x02N."
    for depth in range(6):
        data = model_files.zipped_names({f"{depth}.{'zip' if depth else 'pkl'}": data})
        (tmp_path / "m.zip").write_bytes(data)
        verdict = scan(tmp_path / "m.zip")
        assert not verdict.refused
        assert bool(verdict.unchecked) is (depth >= 4)
    assert "m.zip!/" in verdict.unchecked[0].what


def test_compressed_bytes_are_bounded(tmp_path: Path) -> None:
    import bz2  # noqa: PLC0415 - here only

    file = tmp_path / "m.joblib"
    file.write_bytes(bz2.compress(b"\x80\x04B" + bytes(70 << 20)))
    assert [f.rule for f in scan(file).findings] == ["limit-exceeded"]
    assert "limit-exceeded" not in {
        f.rule for f in scan(file, limits=Limits(ratio=1 << 20)).findings
    }
