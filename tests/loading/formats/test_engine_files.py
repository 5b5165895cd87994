"""Formats of other engines: known by content, honest files pass, what is hostile is refused."""

import json
from pathlib import Path

import pytest

pytest.importorskip("flatbuffers")
pytest.importorskip("yaml")

from mlsecops.errors import ContentRefused
from mlsecops.loading import SecureLoader, scan, scan_each
from mlsecops.loading.detection import Format
from mlsecops.loading.kinds import RECOGNISED
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import engine_files as attack

HONEST, NAMED, HOSTILE = attack.honest(), attack.named_only(), attack.hostile()


def write(folder: Path, files: attack.Files) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


@pytest.mark.parametrize("kind", sorted(HONEST))
def test_an_honest_file_is_known_by_its_content_and_passes(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path, HONEST[kind])
    verdict = scan(file)
    assert (verdict.format, verdict.findings, verdict.unchecked) == (kind, (), ())
    assert all(not each.unchecked for each in scan_each(tmp_path))


@pytest.mark.parametrize("kind", ["catboost", "fasttext", "ggml", "xgboost-ubj", "executorch",
                                  "ctranslate2", "word2vec", "coreml-weights"])  # fmt: skip
def test_content_counts_more_than_the_name(tmp_path: Path, kind: str) -> None:
    (data,) = HONEST[kind].values()
    for name in ("model.bin", "model.model", "weights"):
        (tmp_path / name).write_bytes(data)
        assert scan(tmp_path / name).format == kind


@pytest.mark.parametrize("kind", sorted(NAMED))
def test_what_is_not_looked_into_is_named_and_never_clean(tmp_path: Path, kind: str) -> None:
    verdict = scan(write(tmp_path, NAMED[kind]))
    assert verdict.format != Format.UNKNOWN
    assert verdict.findings == ()
    assert verdict.unchecked


def test_every_recognised_format_has_a_file_here() -> None:
    assert set(RECOGNISED) <= {Format(kind) for kind in NAMED if kind in list(Format)}


@pytest.mark.parametrize("trick", sorted(HOSTILE))
def test_a_hostile_file_is_refused_and_named(tmp_path: Path, trick: str) -> None:
    write(tmp_path, HOSTILE[trick])
    findings = [found for each in scan_each(tmp_path) for found in each.findings]
    assert findings
    assert max(found.severity for found in findings) >= findings[0].severity.HIGH
    assert "check-failed" not in {found.rule for found in findings}


def test_the_loader_refuses_what_the_scan_refused(tmp_path: Path) -> None:
    signer = Signer.generate("ed25519")
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]))
    for number, files in enumerate(HOSTILE.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = write(folder, files)
        sign(folder, signer)
        with pytest.raises(ContentRefused):
            loader.load(folder, file=file.name)


FILLED = ("catboost", "ctranslate2", "fasttext", "ggml", "msgpack", "mxnet-weights", "openvino",
          "pmml", "rds", "xgboost", "xgboost-ubj")  # fmt: skip
"""Formats that say where they end."""


@pytest.mark.parametrize("kind", sorted(HONEST))
def test_a_file_that_is_cut_off_is_no_error_and_not_clean(tmp_path: Path, kind: str) -> None:
    name, data = next(iter(HONEST[kind].items()))
    for end in {*range(0, len(data), max(1, len(data) // 25)), len(data) - 1}:
        (tmp_path / name).write_bytes(data[:end])
        verdict = scan(tmp_path / name)
        assert "check-failed" not in {found.rule for found in verdict.findings}
        if verdict.format == kind and kind in FILLED:
            assert verdict.refused or verdict.unchecked


def test_an_engine_is_allowed_by_its_name(tmp_path: Path) -> None:
    cases = {
        "m.pte": (attack.executorch(["evil::run"]), "evil"),
        "m.ort": (attack.ort("acme", "Load"), "acme"),
        "m.mlmodel": (attack.coreml(attack.field(555, attack.field(10, "Mine"))), "Mine"),
        "m.pdmodel": (attack.paddle("py_func"), "py_func"),
        "m.bin": (b"\x7fELF" + bytes(60), "program"),
        "w.bin": (b"\0asm" + bytes(60), "foreign-code"),
    }
    for name, (data, allowed) in cases.items():
        (tmp_path / name).write_bytes(data)
        assert scan(tmp_path / name, allow_globals=[allowed + "x"]).refused
        assert not scan(tmp_path / name, allow_globals=[allowed]).refused


def test_a_shard_that_an_index_names_is_still_scanned(tmp_path: Path) -> None:
    index = {"weight_map": {"w": "odd.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (tmp_path / "odd.bin").write_bytes(b"?" * 20)
    assert any(each.unchecked for each in scan_each(tmp_path))


def test_a_checkpoint_of_orbax_passes_and_its_values_are_numbers(tmp_path: Path) -> None:
    for name, data in {
        "manifest.ocdbt": next(iter(HONEST["ocdbt"].values())),
        "d/" + "0" * 32: b"\x0c\xdb\x20\xde" + (72).to_bytes(8, "little") + bytes(60),
        "d/" + "a" * 32: b"?" * 50,
        "_METADATA": b'{"tree_metadata": {}}',
        "_CHECKPOINT_METADATA": b'{"item_handlers": "orbax.checkpoint.StandardCheckpointHandler"}',
        "array_metadatas/process_0": b'{"array_metadatas": []}',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert all(not each.findings and not each.unchecked for each in scan_each(tmp_path))
    (tmp_path / "_METADATA").write_bytes(b'{"handler": "os.system"}')
    (tmp_path / "manifest.ocdbt").unlink()
    verdicts = {each.path: each for each in scan_each(tmp_path)}
    assert verdicts[str(tmp_path / "_METADATA")].refused
    assert verdicts[str(tmp_path / "d" / ("a" * 32))].unchecked
