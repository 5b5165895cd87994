"""Scan and loader agree on every real and hostile file of the suite.

What the scan passes the loader loads, or names as a format of other readers, for which `hold` gives
it; what the loader refuses, the scan refused or called unchecked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import ContentRefused, FormatRefused
from mlsecops.loading import SecureLoader, Verdict, scan
from mlsecops.loading.detection import Format
from mlsecops.loading.readers.decode import loadable
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import engine_files, model_folders
from tests.loading.formats import real_models

pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("flatbuffers")
pytestmark = pytest.mark.filterwarnings("ignore")
REAL = ("numpy", "onnx", "safetensors", "sklearn", "torch")


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("ed25519")


@pytest.fixture(scope="module")
def loader(signer: Signer) -> SecureLoader:
    return SecureLoader(TrustPolicy(keys=[signer.public_key]))


def outcome(loader: SecureLoader, file: Path) -> Exception | None:
    try:
        loader.load(file)
    except ContentRefused as error:
        return error
    return None


def disagreement(verdict: Verdict, error: Exception | None) -> str:
    """What is wrong between a scan and a load of the same file, or nothing."""
    said = verdict.refused or bool(verdict.unchecked)
    if said and error is None:
        return "the scan refused it, and the loader loads it"
    if said or error is None:
        return ""
    if isinstance(error, FormatRefused) and not loadable(Format(verdict.format)):
        return "" if str(verdict.format) in str(error) else f"does not name its format: {error}"
    return f"the scan passed it, and the loader refuses: {error}"


def judged(files: Iterator[Path], signer: Signer, loader: SecureLoader) -> dict[str, str]:
    found = {}
    for file in files:
        verdict = scan(file)
        sign(file, signer)
        found[f"{file.parent.name}/{file.name}"] = disagreement(verdict, outcome(loader, file))
        file.with_name(f"{file.name}.sig").unlink()
    return found


def disagreements(found: dict[str, str]) -> dict[str, str]:
    return {name: problem for name, problem in found.items() if problem}


@pytest.mark.parametrize("kind", REAL)
def test_on_real_files(tmp_path: Path, signer: Signer, loader: SecureLoader, kind: str) -> None:
    pytest.importorskip({"sklearn": "skops"}.get(kind, kind))
    getattr(real_models, f"save_{kind}")(tmp_path / kind)
    parts = {".json", ".data"}
    files = [p for p in sorted((tmp_path / kind).iterdir()) if p.suffix not in parts]
    if kind == "onnx":  # its tensors lie in another file: it is loaded with its folder
        files = [p for p in files if p.name != "big.onnx"]
    if kind == "sklearn":
        files = files[::5]
    found = judged(iter(files), signer, loader)
    assert len(found) >= 6
    assert disagreements(found) == {}


def test_on_hostile_files(tmp_path: Path, signer: Signer, loader: SecureLoader) -> None:
    files = model_folders.corpus(tmp_path / "corpus", tmp_path / "ran")
    found = judged(iter(files), signer, loader)
    assert len(found) >= 500
    assert disagreements(found) == {}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("made", [engine_files.honest, engine_files.named_only])
def test_on_files_of_other_engines(
    tmp_path: Path, signer: Signer, loader: SecureLoader, made: Any
) -> None:
    def files() -> Iterator[Path]:
        for number, each in enumerate(made().values()):
            place = tmp_path / str(number)
            place.mkdir()
            for name, data in each.items():
                (place / name).write_bytes(data)
            if len(each) == 1:
                yield place / next(iter(each))

    assert disagreements(judged(files(), signer, loader)) == {}


def test_what_passes_and_has_no_reader_here_is_held(
    tmp_path: Path, signer: Signer, loader: SecureLoader
) -> None:
    for number, each in enumerate(engine_files.honest().values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in each.items():
            (folder / name).write_bytes(data)
        sign(folder, signer)
        with loader.hold(folder, file=next(iter(each))) as held:
            assert (Path(held.folder) / next(iter(each))).read_bytes() == next(iter(each.values()))
