"""Held folders: every signed file under its own name, in every tier, and nothing else."""

import contextlib
import mmap
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import (
    ChangedDuringLoad,
    ContentRefused,
    DigestMismatch,
    FormatRefused,
    MLSecOpsError,
    UnsafeContent,
)
from mlsecops.loading import SecureLoader, scan
from mlsecops.loading.holding import held_folder as holding
from mlsecops.loading.snapshot import TIERS
from mlsecops.signing import Signer, sign
from tests.attackers.racing import racing
from tests.loading.conftest import MOUNTS, Trusting

save_file = pytest.importorskip("safetensors.numpy").save_file


@pytest.fixture
def model(tmp_path: Path, signer: Signer) -> Path:
    """A folder of several parts, as diffusers writes them, with settings and an empty file."""
    folder = tmp_path / "model"
    for part in ("unet", "vae"):
        (folder / part).mkdir(parents=True)
        save_file({"w": np.full(1000, len(part), "f4")}, folder / part / "model.safetensors")
        (folder / part / "config.json").write_text("{}")
    (folder / "model_index.json").write_text('{"_class_name": "Pipeline"}')
    (folder / "README.md").write_text("")
    sign(folder, signer)
    return folder


def names(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir()}


def signed(model: Path) -> dict[str, bytes]:
    return {name: (model / name).read_bytes() for name in names(model) - {"model.sig"}}


@pytest.mark.parametrize("tier", TIERS)
def test_every_signed_file_stands_under_its_own_name(
    model: Path, trusting: Trusting, tier: str
) -> None:
    expected = signed(model)
    with trusting(tier=tier).hold(model) as held:
        folder = Path(held.folder)
        assert {name: (folder / name).read_bytes() for name in names(folder)} == expected
        for name in names(folder):
            place = folder / name
            assert place.resolve() == place
            assert stat.S_ISREG(place.lstat().st_mode)
            assert place.stat().st_nlink == 1
        assert folder.stat().st_mode & 0o077 == 0
        assert (held.path, held.format) == (f"{folder}/model_index.json", "companion")
        assert held.tier == (tier if MOUNTS else "private-copy")
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("tier", TIERS)
def test_a_program_that_is_started_reads_the_folder_too(
    model: Path, trusting: Trusting, tier: str
) -> None:
    with trusting(tier=tier).hold(model) as held:
        script = f"print(open({held.folder + '/unet/config.json'!r}).read())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)  # noqa: PLW1510 - its output is judged
    assert done.stdout == "{}\n"


@pytest.mark.parametrize("tier", TIERS)
def test_a_swap_of_any_file_during_the_block_is_never_read(
    model: Path, trusting: Trusting, tier: str
) -> None:
    expected = signed(model)
    with racing_end(tier), trusting(tier=tier).hold(model) as held:
        for name in expected:
            (model / "evil").write_bytes(b"evil")
            (model / "evil").replace(model / name)
        (model / "added.json").write_text("{}")
        folder = Path(held.folder)
        assert {name: (folder / name).read_bytes() for name in names(folder)} == expected


def racing_end(tier: str) -> Any:
    """A pinned file that is replaced is reported at the end; copies do not care."""
    pinned = tier == "pinned" and MOUNTS
    return pytest.raises(ChangedDuringLoad) if pinned else contextlib.nullcontext()


@pytest.mark.parametrize("tier", ["sealed", "pinned"])
def test_nobody_writes_to_a_folder_in_memory(model: Path, trusting: Trusting, tier: str) -> None:
    with trusting(tier=tier).hold(model) as held:
        folder = Path(held.folder)
        if not MOUNTS:  # a private copy, whose changes the next test reports
            assert held.tier == "private-copy"
            return
        for attack in (
            lambda: (folder / "unet/config.json").write_text("x"),
            lambda: (folder / "new").write_text("x"),
            (folder / "unet/config.json").unlink,
            lambda: (folder / "unet").rename(folder / "other"),
            lambda: os.truncate(folder / "unet/model.safetensors", 1),
            lambda: (folder / "README.md").chmod(0o600),
        ):
            with pytest.raises(OSError, match=r"Read-only|busy"):
                attack()


def overwrite(place: Path) -> None:
    place.chmod(0o600)
    place.write_text("evil")


def test_a_changed_private_copy_is_reported_at_the_end(model: Path, trusting: Trusting) -> None:
    with (
        pytest.raises(ChangedDuringLoad, match=r"unet/config.json"),
        trusting(tier="private-copy").hold(model) as held,
    ):
        overwrite(Path(held.folder, "unet/config.json"))


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> None:
        raise PermissionError(1, "Operation not permitted", folder)

    monkeypatch.setattr(holding, "mount_memory", refuse)


@pytest.mark.usefixtures("unprivileged")
@pytest.mark.parametrize("tier", TIERS)
def test_without_mounts_the_copy_is_private_and_says_so(
    model: Path, trusting: Trusting, tier: str
) -> None:
    expected = signed(model)
    with trusting(tier=tier).hold(model) as held:
        folder = Path(held.folder)
        assert held.tier == "private-copy"
        assert {name: (folder / name).read_bytes() for name in names(folder)} == expected
    assert not folder.exists()


def test_what_a_reader_keeps_mapped_of_a_pinned_file_stays_as_verified(
    model: Path, trusting: Trusting
) -> None:
    file = model / "unet/model.safetensors"
    expected = file.read_bytes()
    with (
        trusting(tier="pinned").hold(model) as held,
        Path(held.folder, "unet/model.safetensors").open("rb") as stream,
    ):
        kept = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        copied = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        copied[:4] = b"mine"
    with file.open("r+b") as stream:
        stream.write(b"\xff" * len(expected))
    assert kept[:] == expected
    assert copied[:] == b"mine" + expected[4:]
    kept.close()
    copied.close()


def test_a_hub_cache_is_held_like_the_files_themselves(
    model: Path, trusting: Trusting, signer: Signer, tmp_path: Path
) -> None:
    expected = signed(model)
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "0123abc"
    (repository / "blobs").mkdir(parents=True)
    for number, (name, data) in enumerate(expected.items()):
        (repository / "blobs" / str(number)).write_bytes(data)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{number}")
    sign(snapshot, signer)
    for tier in TIERS:
        with trusting(tier=tier).hold(snapshot) as held:
            folder = Path(held.folder)
            assert {name: (folder / name).read_bytes() for name in names(folder)} == expected
    loaded = trusting().load(snapshot, file="unet/model.safetensors", framework="numpy")
    assert (loaded.model["w"] == 4).all()
    (tmp_path / "outside").write_bytes((repository / "blobs/0").read_bytes())
    first = snapshot / next(iter(expected))
    first.unlink()
    first.symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeContent, match=first.name), trusting().hold(snapshot):
        pass


def test_what_is_unknown_is_held_only_by_name(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    (tmp_path / "m.engine").write_bytes(b"\0ftrt nobody knows this")
    sign(tmp_path / "m.engine", signer)
    with (
        pytest.raises(FormatRefused, match="allow_unchecked=True"),
        trusting().hold(tmp_path / "m.engine"),
    ):
        pass
    with trusting().hold(tmp_path / "m.engine", allow_unchecked=True) as held:
        assert [item.what for item in held.unchecked] == ["m.engine"]
        assert Path(held.path).read_bytes() == b"\0ftrt nobody knows this"


def test_what_was_looked_into_and_refused_is_not_held_by_name(
    model: Path, trusting: Trusting, signer: Signer
) -> None:
    (model / "vae/extra.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    sign(model, signer)
    with (
        pytest.raises(UnsafeContent, match=r"vae/extra.pkl.*os.system"),
        trusting().hold(model, allow_unchecked=True),
    ):
        pass


@pytest.mark.parametrize("tier", TIERS)
def test_what_was_added_removed_or_changed_is_not_held(
    model: Path, trusting: Trusting, tier: str
) -> None:
    (model / "vae/config.json").write_text('{"a": 1}')
    (model / "README.md").unlink()
    (model / "new.txt").write_text("")
    with pytest.raises(DigestMismatch) as error, trusting(tier=tier).hold(model):
        pass
    assert error.value.changed == ("vae/config.json",)
    assert error.value.removed == ("README.md",)
    assert error.value.added == ("new.txt",)


def test_a_folder_without_weights_is_held(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/tokenizer.json").write_text("{}")
    sign(tmp_path / "t", signer)
    with trusting().hold(tmp_path / "t") as held:
        assert Path(held.folder, "tokenizer.json").read_text() == "{}"


def test_many_files_need_few_descriptors(
    tmp_path: Path, trusting: Trusting, signer: Signer
) -> None:
    resource = pytest.importorskip("resource")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.txt").write_text(str(number))
    sign(folder, signer)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        for tier in ("sealed", "private-copy"):
            with trusting(tier=tier).hold(folder) as held:
                assert len(list(Path(held.folder).iterdir())) == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_only_the_largest_files_are_leased(
    model: Path, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LEASES", 1)
    expected = signed(model)
    with trusting(tier="pinned").hold(model) as held:
        folder = Path(held.folder)
        assert {name: (folder / name).read_bytes() for name in names(folder)} == expected
        shutil.rmtree(model / "vae")  # its weights were not among the leased
        assert (
            Path(folder, "vae/model.safetensors").read_bytes() == expected["vae/model.safetensors"]
        )


@pytest.mark.parametrize("tier", TIERS)
def test_a_held_file_that_is_raced_is_true_or_refused(
    tmp_path: Path, signer: Signer, trusting: Trusting, tier: str
) -> None:
    file = tmp_path / "m.npy"
    np.save(file, np.full(5000, 7.0))
    true = file.read_bytes()
    sign(file, signer)
    loader: SecureLoader = trusting(tier=tier)
    with racing(file, true.replace(b"\x1c@", b"\x1d@"), seed=TIERS.index(tier)):
        for _ in range(30):
            try:
                with loader.hold(file) as held:
                    got = Path(held.path).read_bytes()
            except MLSecOpsError:
                continue
            assert got == true
    with loader.hold(file) as held:
        assert Path(held.path).read_bytes() == true


def test_a_folder_is_held_if_and_only_if_its_scan_passes(
    model: Path, trusting: Trusting, signer: Signer, tmp_path: Path
) -> None:
    pytest.importorskip("h5py")
    pytest.importorskip("flatbuffers")
    from tests.attackers import model_folders  # noqa: PLC0415 - it needs both

    hostile = model_folders.corpus(tmp_path / "corpus", tmp_path / "ran")[::25]
    assert len(hostile) >= 20
    with trusting().hold(model):
        assert not scan(model).refused
    for file in hostile:
        place = model / "vae" / file.name
        place.write_bytes(file.read_bytes())
        sign(model, signer)
        assert scan(model).refused
        with pytest.raises(ContentRefused), trusting().hold(model, allow_unchecked=True):
            pass
        place.unlink()
    assert not (tmp_path / "ran").exists()
