"""Companions are known by their content first, and by their name after that."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops.loading import Limits, scan, scan_each
from tests.attackers import companions as attack
from tests.attackers import loading
from tests.attackers.model_files import field, torch_zip

TEXTS = {
    "vocab.txt": "cat\ndog\nRat\n.\n",
    "requirements.txt": "certifi\nnumpy\nRich\n",
    ".gitignore": "Vagrantfile\n.idea\n",
    "LICENSE": "Copyright (c) 2024\n\nPermission is hereby granted",
    "README": "Python code\n.\n",
    "merges.txt": "#version: 0.2\nt h\n",
    "tokenizer.model": "IQ== 0\nIg== 1\n",
    "NOTICE": "MIT\n",
    "a.md": "(see below)\n",
    "empty.txt": "",
}


@pytest.mark.parametrize("name", sorted(attack.disguised(Path("x"))))
def test_what_hides_under_the_name_of_a_text_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(attack.disguised(tmp_path / "ran")[name])
    assert scan(file).refused


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_honest_text_passes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TEXTS[name])
    verdict = scan(tmp_path / name)
    assert (verdict.findings, verdict.unchecked) == ((), ())


def test_a_sentencepiece_model_passes_and_other_bytes_are_unchecked(tmp_path: Path) -> None:
    piece = field(1, field(1, "<unk>") + b"\x15\0\0\0\0")
    (tmp_path / "tokenizer.model").write_bytes(piece * 200_000 + field(2, b"") + field(3, b""))
    assert not scan(tmp_path / "tokenizer.model").unchecked
    for data in (piece + field(9, b"x"), bytes(50), piece[:-1], b"caf\xe9"):
        (tmp_path / "spiece.model").write_bytes(data)
        assert scan(tmp_path / "spiece.model").unchecked


@pytest.mark.parametrize("data", [b"text\0more", b"\xff\xfet\0", b"caf\xe9", b"cast\ndog\n"])
def test_bytes_that_are_no_plain_text_are_unchecked(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "vocab.txt").write_bytes(data)
    verdict = scan(tmp_path / "vocab.txt")
    assert not verdict.refused
    assert verdict.unchecked


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "a.json", "a.yaml", "tokenizer.model"])
def test_a_companion_over_the_limit_is_unchecked_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(" " * 2000)
    found = scan(tmp_path / name, limits=Limits(header_bytes=1000)).unchecked
    assert "read up to 1000" in found[0].why


def test_version_control_is_listed_as_unchecked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("A model.")
    assert not any(each.unchecked for each in scan_each(tmp_path))
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text("#!/bin/sh\n")
    assert [item.what for item in scan(tmp_path).unchecked] == [str(tmp_path / ".git")]


def test_a_model_of_mlflow_has_a_known_companion(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    assert scan_each(tmp_path)[0].format == "companion"


def test_entries_of_a_torch_archive_that_its_format_does_not_know_are_no_clean_part(
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    file = tmp_path / "m.pt"
    torch.save({"w": torch.ones(2)}, file)
    clean = file.read_bytes()
    assert (scan(file).findings, scan(file).unchecked) == ((), ())
    for name in ("code/run.py", "CODE/run.py", ".data/run.py", "extra/run.py", "data/x.pkl"):
        file.write_bytes(clean)
        loading.added_entry(file, f"m/{name}")
        assert scan(file).refused, name
    file.write_bytes(clean)
    loading.added_entry(file, "m/data/7")
    assert [item.what for item in scan(file).unchecked] == ["m/data/7"]


@pytest.mark.parametrize("name", ["version", "byteorder", ".data/serialization_id"])
def test_an_entry_of_a_torch_archive_holds_what_its_name_says(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    file = tmp_path / "m.pt"
    torch.save({"w": torch.ones(2)}, file)
    loading.rewritten_zip(
        file, lambda info, old: (info.filename, b"code" if info.filename == f"m/{name}" else old)
    )
    assert scan(file).refused


def test_an_entry_of_a_torch_archive_has_the_checksum_that_the_directory_says(
    tmp_path: Path,
) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(torch_zip(b"\x80\x02N."))
    assert not scan(file).refused
    file.write_bytes(file.read_bytes().replace(b"3\n", b"4\n"))
    assert [found.rule for found in scan(file).findings] == ["malformed"]
