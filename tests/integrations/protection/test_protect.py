"""Loading calls in a protected process: verified bytes as the library gives them, or an error."""

import asyncio
import importlib
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import mlsecops
from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    SignatureMissing,
    UnsafeContent,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.protection.calls import CALLS
from mlsecops.integrations.protection.patching import _function
from mlsecops.loading import SecureLoader
from mlsecops.signing import Signer, TrustPolicy, sign

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors")
pytest.importorskip("safetensors.numpy")
from safetensors import safe_open as opened_before  # noqa: E402 - it needs safetensors
from safetensors.torch import load_file as loaded_before  # noqa: E402 - as above
from safetensors.torch import save_file  # noqa: E402 - as above

load_before = torch.load  # an alias that was made before any block
SIGNER, OTHER = Signer.generate("p256"), Signer.generate("p256")
POLICY = TrustPolicy(keys=[SIGNER.public_key])


def relu(path: Path) -> None:
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), "f4"), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    location = f"{path.name}_data"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed folder with a file for each library."""
    folder = tmp_path_factory.mktemp("m") / "model"
    (folder / "sub").mkdir(parents=True)
    weights = {"w": torch.arange(3.0)}
    torch.save(weights, folder / "a.pt")
    save_file(weights, folder / "sub/b.safetensors")
    joblib.dump([1, 2], folder / "c.joblib")
    np.save(folder / "d.npy", np.arange(3.0))
    np.savez(folder / "e.npz", x=np.arange(3.0))
    relu(folder / "sub/f.onnx")
    sign(folder, SIGNER)
    return folder


def run_onnx(path: str) -> Any:
    return onnxruntime.InferenceSession(path).run(None, {"x": np.ones((1, 4), "f4")})[0].tolist()


def keys_of(path: str) -> Any:
    with opened_before(path, "pt") as file:
        return {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118 - no mapping


CALLED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "torch.load": ("a.pt", lambda path: torch.load(path)["w"].tolist()),
    "torch.load, alias": ("a.pt", lambda path: load_before(path)["w"].tolist()),
    "torch.load, by name": ("a.pt", lambda path: torch.load(f=path)["w"].tolist()),
    "torch.load, mapped": ("a.pt", lambda path: torch.load(path, mmap=True)["w"].tolist()),
    "torch.load, unrestricted": (
        "a.pt", lambda path: torch.load(path, weights_only=False)["w"].tolist(),
    ),
    "load_file": (
        "sub/b.safetensors", lambda path: safetensors.torch.load_file(path)["w"].tolist(),
    ),
    "load_file, alias": ("sub/b.safetensors", lambda path: loaded_before(path)["w"].tolist()),
    "load_file, numpy": (
        "sub/b.safetensors", lambda path: safetensors.numpy.load_file(path)["w"].tolist(),
    ),
    "safe_open": ("sub/b.safetensors", keys_of),
    "joblib.load": ("c.joblib", joblib.load),
    "numpy.load": ("d.npy", lambda path: np.load(path).tolist()),
    "numpy.load, mapped": ("d.npy", lambda path: np.load(path, mmap_mode="r").tolist()),
    "numpy.load, archive": ("e.npz", lambda path: np.load(path)["x"].tolist()),
    "onnx.load": ("sub/f.onnx", lambda path: onnx.load(path).SerializeToString()),
    "InferenceSession": ("sub/f.onnx", run_onnx),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_a_call_gives_what_the_library_gives(model: Path, name: str) -> None:
    file, call = CALLED[name]
    expected = call(str(model / file))
    with mlsecops.protect(POLICY):
        assert call(str(model / file)) == expected
    assert call(str(model / file)) == expected


@pytest.mark.parametrize("name", CALLED)
def test_unsigned_changed_and_foreign_files_are_refused(
    model: Path, tmp_path: Path, name: str
) -> None:
    file, call = CALLED[name]
    alone = tmp_path / Path(file).name
    alone.write_bytes((model / file).read_bytes())
    if file.endswith(".onnx"):
        data = alone.with_name(f"{alone.name}_data")
        data.write_bytes((model / f"{file}_data").read_bytes())
    with mlsecops.protect(POLICY):
        with pytest.raises(SignatureMissing):
            call(str(alone))
        sign(tmp_path, OTHER)
        with pytest.raises(UntrustedSigner):
            call(str(alone))
        sign(tmp_path, SIGNER, replace=True)
        call(str(alone))
        alone.write_bytes(alone.read_bytes() + b"x")
        with pytest.raises(DigestMismatch):
            call(str(alone))
    call(str(model / file))


def test_a_signed_payload_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    sign(path, SIGNER)
    with mlsecops.protect(POLICY), pytest.raises(UnsafeContent, match=r"os\.system"):
        joblib.load(path)


def test_streams_and_bytes_are_refused_as_nobody_can_verify_them(model: Path) -> None:
    data = (model / "a.pt").read_bytes()
    tensors = (model / "sub/b.safetensors").read_bytes()
    graph = (model / "sub/f.onnx").read_bytes()
    with mlsecops.protect(POLICY), (model / "a.pt").open("rb") as stream:
        for call in (
            lambda: torch.load(stream),
            lambda: torch.load(io.BytesIO(data)),
            lambda: safetensors.torch.load(tensors),
            lambda: joblib.load(io.BytesIO(data)),
            lambda: np.load(io.BytesIO(data)),
            lambda: onnxruntime.InferenceSession(graph),
        ):
            with pytest.raises(SignatureMissing, match="give the path"):
                call()


def test_a_link_into_a_held_folder_is_no_held_path(model: Path, tmp_path: Path) -> None:
    """The link could lead elsewhere when the library opens it."""
    with mlsecops.protect(POLICY), SecureLoader(POLICY).hold(model) as held:
        inside = Path(held.folder, "a.pt")
        assert torch.load(inside)["w"].tolist() == [0.0, 1.0, 2.0]
        with inside.open("rb") as stream:
            assert torch.load(stream)["w"].tolist() == [0.0, 1.0, 2.0]
        (tmp_path / "link.pt").symlink_to(inside)
        with pytest.raises(SignatureMissing):
            torch.load(tmp_path / "link.pt")
        with pytest.raises((SignatureMissing, UsageError)):
            torch.load(f"{held.folder}/../{tmp_path.name}")


def test_external_data_that_was_changed_is_refused(model: Path, tmp_path: Path) -> None:
    for name in ("f.onnx", "f.onnx_data"):
        (tmp_path / name).write_bytes((model / "sub" / name).read_bytes())
    sign(tmp_path, SIGNER)
    (tmp_path / "f.onnx_data").write_bytes(b"\0" * 64)
    with mlsecops.protect(POLICY), pytest.raises(DigestMismatch, match=r"f\.onnx_data"):
        run_onnx(str(tmp_path / "f.onnx"))


def test_whole_models_and_weights_of_keras(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    net.save(tmp_path / "m.keras")
    net.save_weights(tmp_path / "m.weights.h5")
    with mlsecops.protect(POLICY):
        with pytest.raises(SignatureMissing):
            keras.models.load_model(tmp_path / "m.keras")
        with pytest.raises(SignatureMissing):
            net.load_weights(tmp_path / "m.weights.h5")
        sign(tmp_path, SIGNER)
        again = keras.models.load_model(tmp_path / "m.keras")
        net.load_weights(tmp_path / "m.weights.h5")
    assert all(map(np.array_equal, again.get_weights(), net.get_weights()))


def test_what_the_scan_does_not_know_needs_its_name(tmp_path: Path) -> None:
    (tmp_path / "m.data").write_bytes(b"\0nobody knows this")
    sign(tmp_path / "m.data", SIGNER)
    with mlsecops.protect(POLICY), pytest.raises(FormatRefused, match="allow_unchecked=True"):
        torch.load(tmp_path / "m.data")
    allowing = mlsecops.protect(POLICY, allow_unchecked=True)
    with allowing, pytest.raises(Exception, match="Weights only load failed"):  # torch's own error
        torch.load(tmp_path / "m.data")


def test_names_that_the_caller_allows_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump(Signer, path)
    sign(path, SIGNER)
    with mlsecops.protect(POLICY), pytest.raises(UnsafeContent):
        joblib.load(path)
    with mlsecops.protect(POLICY, allow_globals=[f"{Signer.__module__}.Signer"]):
        assert joblib.load(path) is Signer


def test_nested_blocks_apply_the_innermost_policy(model: Path) -> None:
    with mlsecops.protect(POLICY):
        inner = mlsecops.protect(TrustPolicy(keys=[OTHER.public_key]))
        with inner, pytest.raises(UntrustedSigner):
            torch.load(model / "a.pt")
        torch.load(model / "a.pt")


def test_a_block_is_not_entered_twice() -> None:
    block = mlsecops.protect(POLICY)
    with block, pytest.raises(UsageError, match="another for nesting"), block:
        pass
    with block:
        pass


def test_everything_is_as_it_was_after_the_block_and_after_an_error(model: Path) -> None:
    def state() -> Any:
        functions = [
            _function(sys.modules[call.module], call.name)
            for call in CALLS.values()
            if call.module in sys.modules
        ]
        codes = [(each, each.__code__, dict(vars(each))) for each in functions if each]
        return codes, safetensors.safe_open, opened_before, list(sys.meta_path)

    before = state()

    def fail() -> None:
        with mlsecops.protect(POLICY), mlsecops.protect(POLICY):
            assert state() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state() == before
    assert torch.load(io.BytesIO((model / "a.pt").read_bytes()))


def test_other_threads_are_protected_while_a_block_lasts(model: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "unsigned.pt")
    seen: list[Any] = []

    def work() -> None:
        seen.append(torch.load(model / "a.pt")["w"].tolist())
        try:
            torch.load(tmp_path / "unsigned.pt")
        except SignatureMissing as error:
            seen.append(error)

    with mlsecops.protect(POLICY):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert seen.count([0.0, 1.0, 2.0]) == len(seen) - seen.count([0.0, 1.0, 2.0]) == 8


def test_tasks_with_blocks_that_overlap_have_each_its_own(model: Path) -> None:
    async def with_policy(policy: TrustPolicy, wait: float) -> str:
        with mlsecops.protect(policy):
            await asyncio.sleep(wait)
            try:
                torch.load(model / "a.pt")
            except UntrustedSigner:
                return "refused"
            finally:
                await asyncio.sleep(wait)
        return "loaded"

    async def all_of_them() -> list[str]:
        other = TrustPolicy(keys=[OTHER.public_key])
        waits = (0.01, 0.03, 0.02, 0.0)
        return await asyncio.gather(
            *(
                with_policy(policy, wait)
                for policy, wait in zip([POLICY, other] * 2, waits, strict=True)
            )
        )

    assert asyncio.run(all_of_them()) == ["loaded", "refused"] * 2
    assert torch.load(io.BytesIO((model / "a.pt").read_bytes()))


def test_libraries_that_are_imported_inside_the_block_are_protected(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text(SIGNER.public_key.pem)
    script = f"""
import sys, mlsecops
assert "torch" not in sys.modules and "joblib" not in sys.modules
with mlsecops.protect(mlsecops.TrustPolicy(keys=[{str(tmp_path / "key.pem")!r}])):
    from joblib import load
    from safetensors import safe_open
    from safetensors.numpy import load_file
    import torch
    print(load({str(model / "c.joblib")!r}))
    print(sorted(load_file({str(model / "sub/b.safetensors")!r})))
    me = __file__
    for bad in (lambda: torch.load("x.pt"), lambda: load(me), lambda: safe_open(me, "pt")):
        try:
            bad()
        except mlsecops.MLSecOpsError as error:
            print(type(error).__name__)
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True)  # noqa: PLW1510 - its output is judged
    assert done.stdout.split("\n") == [
        "[1, 2]", "['w']", "UsageError", "SignatureMissing", "SignatureMissing", "",
    ], done.stderr  # fmt: skip


def test_our_own_loader_works_inside_a_block(model: Path) -> None:
    with mlsecops.protect(POLICY):
        for file in ("a.pt", "sub/b.safetensors", "c.joblib", "d.npy", "sub/f.onnx"):
            SecureLoader(POLICY).load(model, file=file)


def test_a_file_that_is_swapped_during_the_call_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker swaps the file after it was verified, when the library begins to read."""
    path = tmp_path / "m.npy"
    np.save(path, np.arange(3.0))
    sign(path, SIGNER)

    def swap(*_: Any, **__: Any) -> Any:
        path.write_bytes(b"evil")
        return read(*_, **__)

    read = np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", swap)
    monkeypatch.setattr("numpy.lib._npyio_impl.format.read_array", swap)
    with mlsecops.protect(POLICY):
        assert np.load(path).tolist() == [0.0, 1.0, 2.0]
    assert path.read_bytes() == b"evil"


def test_each_row_of_the_table_is_there_in_the_installed_libraries() -> None:
    found = {}
    for key, call in CALLS.items():
        try:
            module = importlib.import_module(call.module)
        except ImportError:
            continue
        found[key] = _function(module, call.name) is not None
    assert found
    assert [key for key, there in found.items() if not there] == []


def test_the_choice_of_a_tier_is_one_that_outlives_the_call() -> None:
    with pytest.raises(UsageError, match="tier"):
        mlsecops.protect(POLICY, tier="pinned")  # type: ignore[arg-type]
