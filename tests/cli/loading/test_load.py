from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import Command, Release, tamper


def test_a_signed_model_is_loaded_and_described(command: Command, release: Release) -> None:
    outcome = command("load", release.model, "--key", release.public)
    assert outcome.status == 0
    assert "sha256:" in outcome.out
    assert "2 tensors" in outcome.out


def test_json_says_format_digest_signer_tier_and_what(command: Command, release: Release) -> None:
    outcome = command(
        "load", release.model, "--key", release.public, "--format", "json", "--framework", "numpy"
    )
    value = json.loads(outcome.out)
    assert outcome.status == 0
    assert value["format"] == "safetensors"
    assert value["digest"].startswith("sha256:")
    assert len(value["signers"]) == 1
    assert value["tier"] in {"sealed", "private-copy"}
    assert value["model"]["tensors"]["weight"] == {"dtype": "float32", "shape": [10, 64]}


def test_an_architecture_is_filled(command: Command, release: Release) -> None:
    outcome = command(
        "load", release.model, "--key", release.public, "--arch", "nets:build", "--format", "json"
    )
    assert outcome.status == 0
    assert json.loads(outcome.out)["model"]["framework"] == "torch"


def test_the_tier_and_the_file_are_chosen(command: Command, release: Release) -> None:
    options = ("load", release.model, "--key", release.public, "--format", "json")
    name = next(path.name for path in release.model.glob("*.safetensors"))
    outcome = command(*options, "--tier", "pinned", "--file", name, "--device", "cpu")
    assert outcome.status == 0
    assert json.loads(outcome.out)["tier"] == "pinned"
    assert command(*options, "--file", "absent.pt").status == 2
    assert command(*options, "--device", "nowhere").status == 2
    assert command(*options, "--tier", "open").status == 2


def test_a_tampered_model_is_refused_by_name(command: Command, release: Release) -> None:
    tamper(release.model / "model.safetensors")
    outcome = command("load", release.model, "--key", release.public)
    assert outcome.status == 1
    assert outcome.out == ""
    assert "model.safetensors" in outcome.said


def test_a_stranger_is_not_trusted(command: Command, release: Release) -> None:
    outcome = command("load", release.model, "--key", release.stranger)
    assert outcome.status == 1
    assert "UntrustedSigner" in outcome.said


def test_an_unsigned_model_is_refused(command: Command, release: Release) -> None:
    (release.model / "model.sig").unlink()
    outcome = command("load", release.model, "--key", release.public)
    assert outcome.status == 1
    assert "SignatureMissing" in outcome.said


def test_an_architecture_of_another_shape_is_refused(command: Command, release: Release) -> None:
    outcome = command("load", release.model, "--key", release.public, "--arch", "nets:narrow")
    assert outcome.status == 1
    assert "shape" in outcome.said


def test_wrong_use_is_told_apart(command: Command, release: Release) -> None:
    model, key = release.model, release.public
    for words, told in (
        ((release.folder / "absent", "--key", key), "absent"),
        ((model,), "--key"),
        ((model, "--key", release.folder / "absent.pem"), "absent.pem"),
        ((model, "--key", key, "--arch", "nets"), "module:callable"),
        ((model, "--key", key, "--arch", "absent_module:build"), "absent_module"),
        ((model, "--key", key, "--arch", "nets:absent"), "absent"),
        ((model, "--key", key, "--arch", "nets:broken"), "no such layer"),
        ((model, "--key", key, "--arch", "nets:leaving"), "SystemExit"),
        ((model, "--key", key, "--framework", "keras"), "keras"),
        ((model, "--key", key, "--framework", "caffe"), "caffe"),
    ):
        outcome = command("load", *words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_an_architecture_is_found_in_the_folder_one_works_in(release: Release) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "mlsecops", "load", "model", "--key", str(release.public),
         "--arch", "nets:build"],
        check=False, text=True, capture_output=True, timeout=120, cwd=release.folder,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Linear" in ran.stdout


def test_a_file_in_that_folder_does_not_stand_in_for_an_installed_module(
    command: Command, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(release.folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(release.folder)])
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    (release.folder / "tabnanny.py").write_text("raise SystemExit('not the standard library')")
    outcome = command("load", release.model, "--key", release.public, "--arch", "tabnanny:absent")
    assert outcome.status == 2
    assert "AttributeError" in outcome.said
