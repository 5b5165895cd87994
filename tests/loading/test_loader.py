import json
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import (
    ChangedDuringLoad,
    DigestMismatch,
    FormatRefused,
    FrameworkTooOld,
    Isolated,
    LimitExceeded,
    Revoked,
    SignatureError,
    SignatureMissing,
    UnsafeContent,
    UntrustedSigner,
    UsageError,
)
from mlsecops.loading import Limits, SecureLoader
from mlsecops.loading.readers import checked_model, torch_reader
from mlsecops.loading.snapshot import snapshot
from mlsecops.provenance import Digest
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import loading as attack
from tests.attackers.registry import swap_materialised
from tests.loading.conftest import Trusting

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def trusting(signer: Signer) -> Trusting:
    def make(**options: Any) -> SecureLoader:
        revoked = options.pop("revoked", [])
        return SecureLoader(TrustPolicy(keys=[signer.public_key], revoked=revoked), **options)

    return make


def network(seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


@pytest.fixture
def folder(tmp_path: Path, signer: Signer) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    safetensors_torch.save_file(network().state_dict(), place / "model.safetensors")
    (place / "config.json").write_text('{"hidden": 4}')
    (place / "README.md").write_text("A model.")
    sign(place, signer)
    return place


def same(left: Any, right: Any) -> Any:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_signed_folder_loads_from_a_sealed_copy(folder: Path, trusting: Trusting) -> None:
    loaded = trusting().load(folder)
    assert same(loaded.model, network().state_dict())
    assert loaded.tier == "sealed"
    assert loaded.format == "safetensors"
    assert loaded.adapter is None
    assert loaded.digest == loaded.verified.digest == loaded.verified.manifest.root
    assert "config.json" in loaded.verified.manifest


@pytest.mark.parametrize("old", [False, True])
def test_a_state_dict_file_loads(
    tmp_path: Path, signer: Signer, trusting: Trusting, old: object
) -> None:
    file = tmp_path / "model.pt"
    torch.save(network().state_dict(), file, _use_new_zipfile_serialization=not old)
    sign(file, signer)
    loaded = trusting().load(file)
    assert same(loaded.model, network().state_dict())
    assert loaded.format == ("torch-legacy" if old else "torch")


def test_weights_fill_the_callers_module_and_give_an_adapter(
    folder: Path, trusting: Trusting
) -> None:
    mine = network(seed=1)
    loaded = trusting().load(folder, into=mine)
    assert loaded.model is mine
    assert same(mine.state_dict(), network().state_dict())
    assert loaded.adapter.predict(np.zeros((2, 3), np.float32)).shape == (2, 4)


def test_weights_that_do_not_fit_leave_the_callers_module_as_it_was(
    folder: Path, trusting: Trusting
) -> None:
    for mine in (
        torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5)),
        torch.nn.Sequential(torch.nn.Linear(3, 4)),
    ):
        before = {name: value.clone() for name, value in mine.state_dict().items()}
        with pytest.raises(FormatRefused, match="does not fit"):
            trusting().load(folder, into=mine)
        assert same(mine.state_dict(), before)


def test_arrays_load_by_name(tmp_path: Path, signer: Signer, trusting: Trusting) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(4), y=np.eye(2))
    np.save(tmp_path / "b.npy", np.arange(5))
    for name in ("a.npz", "b.npy"):
        sign(tmp_path / name, signer)
    arrays = trusting().load(tmp_path / "a.npz").model
    assert sorted(arrays) == ["x", "y"]
    np.testing.assert_array_equal(arrays["y"], np.eye(2))
    np.testing.assert_array_equal(trusting().load(tmp_path / "b.npy").model, np.arange(5))


def test_safetensors_load_as_numpy_when_asked(folder: Path, trusting: Trusting) -> None:
    loaded = trusting().load(folder, framework="numpy")
    assert isinstance(loaded.model["0.weight"], np.ndarray)
    with pytest.raises(UsageError, match="not by 'keras'"):
        trusting().load(folder, framework="keras")


def test_a_whole_module_of_torchs_own_layers_loads(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "model.pt"
    torch.save(network().eval(), file)
    sign(file, signer)
    loaded = trusting().load(file)
    assert same(loaded.model.state_dict(), network().state_dict())
    assert loaded.adapter.framework == "torch"


def test_an_unsigned_model_is_refused(folder: Path, trusting: Trusting) -> None:
    (folder / "model.sig").unlink()
    with pytest.raises(SignatureMissing):
        trusting().load(folder)


def test_a_strangers_signature_is_refused(folder: Path) -> None:
    stranger = TrustPolicy(keys=[Signer.generate("p256").public_key])
    with pytest.raises(UntrustedSigner):
        SecureLoader(stranger).load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_one_changed_byte_anywhere_is_refused(folder: Path, trusting: Trusting, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DigestMismatch) as caught:
        trusting().load(folder)
    assert caught.value.changed == (name,)


def test_an_added_and_a_removed_companion_are_refused(folder: Path, trusting: Trusting) -> None:
    (folder / "more.json").write_text("{}")
    with pytest.raises(DigestMismatch, match=r"more\.json"):
        trusting().load(folder)
    (folder / "more.json").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(DigestMismatch, match=r"config\.json"):
        trusting().load(folder)


def test_a_revoked_model_is_refused(folder: Path, trusting: Trusting) -> None:
    digest = trusting().load(folder).digest
    with pytest.raises(Revoked):
        trusting(revoked=[str(digest)]).load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_model_with_a_revoked_file_is_refused(
    folder: Path, trusting: Trusting, name: str
) -> None:
    digest = trusting().load(folder).verified.manifest[name]
    with pytest.raises(Revoked, match=digest.hex):
        trusting(revoked=[str(digest)]).load(folder)


class Deny:
    """Isolates one digest."""

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def isolated(self, digest: Any) -> Any:
        return "incident 7" if digest == self.digest else None


def test_an_isolated_model_is_refused_with_its_reason(folder: Path, trusting: Trusting) -> None:
    loaded = trusting().load(folder)
    with pytest.raises(Isolated, match="incident 7"):
        trusting(isolation=Deny(loaded.digest)).load(folder)
    weights = loaded.verified.manifest["model.safetensors"]
    with pytest.raises(Isolated, match="incident 7"):
        trusting(isolation=Deny(weights)).load(folder)
    other = Deny(Digest.of(b"other"))
    assert trusting(isolation=other).load(folder).digest == loaded.digest


def test_what_ignore_patterns_hide_is_never_read(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    place = tmp_path / "model"
    place.mkdir()
    torch.save(network().state_dict(), place / "model.pt")
    (place / "README.md").write_text("A model.")
    sign(place, signer, ignore=["model.pt", "model.sig"])
    with pytest.raises(FormatRefused, match="got none; is the model somewhere else"):
        trusting().load(place)


def test_two_model_files_are_refused(folder: Path, signer: Signer, trusting: Trusting) -> None:
    np.save(folder / "b.npy", np.zeros(2))
    sign(folder, signer)
    with pytest.raises(FormatRefused, match="expected one model file"):
        trusting().load(folder)


def test_the_file_swapped_after_the_check_is_not_what_is_loaded(
    folder: Path, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checked_model.examine
    file = folder / "model.safetensors"

    def swap(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        file.write_bytes(b"x" * file.stat().st_size)
        return result

    monkeypatch.setattr(checked_model, "examine", swap)
    loaded = trusting().load(folder)
    assert same(loaded.model, network().state_dict())


def test_a_sealed_copy_cannot_be_written_grown_or_shrunk(folder: Path) -> None:
    options = {"tier": "sealed", "algorithm": "sha256", "limits": Limits()}
    file = folder / "model.safetensors"
    with snapshot({"m": str(file)}, **options) as held:
        source = held.sources["m"]
        assert held.digests["m"] == Digest.of(file.read_bytes())
        descriptor = os.open(source.path, os.O_RDWR)
        try:
            with pytest.raises(PermissionError):
                os.write(descriptor, b"x")
            for size in (0, source.size + 1):
                with pytest.raises(PermissionError):
                    os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        assert Path(source.path).read_bytes() == file.read_bytes()


def test_a_file_that_grows_while_it_is_copied_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "model.safetensors"
    real = os.fstat

    def stale(descriptor: Any) -> Any:
        values = list(real(descriptor))
        values[6] -= 10
        return os.stat_result(values)

    monkeypatch.setattr("mlsecops.loading.snapshot_tiers.os.fstat", stale)
    options = {"tier": "sealed", "algorithm": "sha256", "limits": Limits()}
    with pytest.raises(ChangedDuringLoad), snapshot({"m": str(file)}, **options):
        pass


def test_without_sealed_memory_a_private_copy_is_used_and_said(
    folder: Path, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.loading.snapshot_tiers.can_seal", lambda: False)
    loaded = trusting().load(folder)
    assert loaded.tier == "private-copy"
    assert same(loaded.model, network().state_dict())


def test_no_descriptor_is_left_open(folder: Path, trusting: Trusting) -> None:
    trusting().load(folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        trusting().load(folder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.joblib", "model.bin"])
def test_a_signed_malicious_pickle_is_refused_before_anything_runs(
    tmp_path: Path, signer: Signer, trusting: Trusting, name: str
) -> None:
    trace = tmp_path / "ran"
    file = tmp_path / name
    file.write_bytes(attack.malicious_pickle(trace))
    sign(file, signer)
    with pytest.raises(UnsafeContent) as caught:
        trusting().load(file)
    assert caught.value.rule == "pickle-global"
    assert not trace.exists()


def test_a_signed_poisoned_archive_is_refused_before_torch_reads_it(
    tmp_path: Path, signer: Signer, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.pt"
    torch.save(network().state_dict(), file)
    attack.poisoned_torch(file, tmp_path / "ran")
    sign(file, signer)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read it"))
    with pytest.raises(UnsafeContent):
        trusting().load(file)


def test_the_environment_cannot_switch_weights_only_off(
    tmp_path: Path, signer: Signer, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    seen = {}
    real = torch.load
    file = tmp_path / "model.pt"
    torch.save(network().state_dict(), file)
    sign(file, signer)

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.update(options)
        return real(*arguments, **options)

    monkeypatch.setattr(torch, "load", spy)
    trusting().load(file)
    assert seen["weights_only"] is True


def test_a_sparse_tensor_that_points_outside_is_refused(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "model.pt"
    good = torch.sparse_coo_tensor(torch.tensor([[0, 7]]), torch.ones(2), (8,))
    torch.save({"w": good}, file)

    def shrink(info: Any, data: Any) -> Any:
        return info.filename, data.replace(b"K\x08\x85", b"K\x02\x85")

    attack.rewritten_zip(file, shrink)
    sign(file, signer)
    with pytest.raises(FormatRefused, match="torch refuses"):
        trusting().load(file)


def test_an_old_torch_is_refused(
    tmp_path: Path, signer: Signer, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.pt"
    torch.save(network().state_dict(), file)
    sign(file, signer)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(FrameworkTooOld, match=r"2\.10"):
        trusting().load(file)
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    trusting().load(file)


def test_a_signed_pickle_without_harm_loads(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"w": [1.0]}))
    sign(file, signer)
    assert trusting().load(file).model == {"w": [1.0]}


def test_a_format_that_is_only_scanned_is_not_loaded(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "model.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(__file__, "README.md")
    sign(file, signer)
    with pytest.raises(FormatRefused, match="cannot be loaded"):
        trusting().load(file)


def test_what_was_not_checked_is_not_loaded(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file = tmp_path / "model.xyz"
    file.write_bytes(b"?" * 99)
    sign(file, signer)
    with pytest.raises(FormatRefused, match="not checked"):
        trusting().load(file)


def test_limits_hold(folder: Path, trusting: Trusting) -> None:
    with pytest.raises(LimitExceeded, match="file_bytes"):
        trusting(limits=Limits(file_bytes=10)).load(folder)


def test_another_bundle_is_used_when_named(
    folder: Path, trusting: Trusting, tmp_path: Path
) -> None:
    (folder / "model.sig").rename(tmp_path / "else.sig")
    assert trusting().load(folder, bundle=tmp_path / "else.sig").format == "safetensors"


def test_a_broken_bundle_is_refused(folder: Path, trusting: Trusting) -> None:
    bundle = json.loads((folder / "model.sig").read_text())
    bundle["dsseEnvelope"]["payload"] = ""
    (folder / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(SignatureError):
        trusting().load(folder)


def test_an_unknown_tier_is_wrong_use(trusting: Trusting) -> None:
    with pytest.raises(UsageError, match="tier: expected"):
        trusting(tier="open")


def test_names_outside_torchs_own_list_are_resolved_only_when_allowed(tmp_path: Path) -> None:
    file = tmp_path / "m.pt"
    torch.save({"a": 1}, file)
    with pytest.raises(UsageError, match="cannot import"):
        torch_reader.read_torch(str(file), device="cpu", legacy=False, names=["no.such.Name"])
    assert "no" not in sys.modules


def test_only_files_that_no_signature_covers_are_reported(folder: Path, trusting: Trusting) -> None:
    assert trusting().load(folder).verified.ignored == ()
    (folder / ".git").mkdir()
    (folder / ".git" / "hook").write_text("x")
    assert trusting().load(folder).verified.ignored == (".git/hook",)


def test_a_path_where_nothing_is_is_the_callers_fault(tmp_path: Path, trusting: Trusting) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        trusting().load(tmp_path / "nowhere")


def test_another_signed_model_in_its_place_is_refused(
    folder: Path, tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    meant = trusting().load(folder).digest
    assert trusting().load(folder, digest=meant).digest == meant
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "README.md").write_text("another")
    sign(other, signer)
    swap_materialised(folder, other)
    assert trusting().load(folder).digest != meant
    with pytest.raises(DigestMismatch, match="another signed model"):
        trusting().load(folder, digest=meant)


def test_tensors_go_where_they_are_asked_to(
    tmp_path: Path, signer: Signer, trusting: Trusting
) -> None:
    file, arrays = tmp_path / "model.pt", tmp_path / "a.npy"
    torch.save(network().state_dict(), file)
    np.save(arrays, np.arange(3))
    for path in (file, arrays):
        sign(path, signer)
    for tier in ("sealed", "pinned"):
        loaded = trusting(tier=tier).load(file, device="meta")
        assert {tensor.device.type for tensor in loaded.model.values()} == {"meta"}
        with pytest.raises(UsageError, match="cannot use device 'nowhere'"):
            trusting(tier=tier).load(file, device="nowhere")
    with pytest.raises(UsageError, match="is for torch tensors"):
        trusting().load(arrays, device="cuda")
