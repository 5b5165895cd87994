from __future__ import annotations

import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.attackers.loading import malicious_pickle
from tests.cli.conftest import Command, Release


def test_safetensors_pass(command: Command, release: Release) -> None:
    outcome = command("scan", release.model / "model.safetensors", "--strict")
    assert outcome.status == 0
    assert "passed" in outcome.out
    assert outcome.err == ""


def test_a_malicious_pickle_is_refused_and_never_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(malicious_pickle(tmp_path / "trace"))
    outcome = command("scan", tmp_path / "model.pkl")
    assert outcome.status == 1
    assert "mkdir" in outcome.out
    assert not (tmp_path / "trace").exists()


def test_json_has_the_shape_of_the_contract(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(malicious_pickle(tmp_path / "trace"))
    outcome = command("scan", tmp_path / "model.pkl", "--format", "json")
    assert outcome.status == 1
    value = json.loads(outcome.out)
    assert value["schema"] == "mlsecops.scan/1"
    (verdict,) = value["verdicts"]
    assert set(verdict) == {"path", "format", "refused", "findings", "unchecked"}
    assert verdict["refused"] is True
    assert set(verdict["findings"][0]) == {"rule", "severity", "message", "where"}


def test_a_folder_gives_a_verdict_for_each_file(command: Command, release: Release) -> None:
    (release.model / "deep").mkdir()
    (release.model / "deep" / "bad.pkl").write_bytes(malicious_pickle(release.folder / "trace"))
    outcome = command("scan", release.model, "--format", "json")
    verdicts = {v["path"]: v["refused"] for v in json.loads(outcome.out)["verdicts"]}
    assert outcome.status == 1
    assert verdicts[str(release.model / "deep" / "bad.pkl")] is True
    assert verdicts[str(release.model / "model.safetensors")] is False


def test_a_signed_model_folder_passes_strictly(command: Command, release: Release) -> None:
    outcome = command("scan", release.model, "--strict")
    assert outcome.status == 0, outcome.out


def test_a_folder_with_a_link_is_refused(command: Command, release: Release) -> None:
    (release.model / "link").symlink_to("/etc/passwd")
    assert command("scan", release.model).status == 1


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    path = tmp_path / "model.weird"
    path.write_bytes(b"\x01\x02nothing that is known" * 20)
    return path


def test_unchecked_is_refused_only_in_strict(command: Command, unknown: Path) -> None:
    assert command("scan", unknown, "--no-strict").status == 0
    assert command("scan", unknown, "--strict").status == 1


def test_strict_is_the_default_in_continuous_integration(
    command: Command, unknown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("scan", unknown).status == 0
    monkeypatch.setenv("CI", "true")
    assert command("scan", unknown).status == 1
    assert command("scan", unknown, "--no-strict").status == 0


def test_unchecked_is_a_value_in_json(command: Command, unknown: Path) -> None:
    value = json.loads(command("scan", unknown, "--format", "json").out)
    (item,) = value["verdicts"][0]["unchecked"]
    assert set(item) == {"what", "why"}


def test_strict_findings_reach_sarif_and_junit(command: Command, unknown: Path) -> None:
    sarif = json.loads(command("scan", unknown, "--strict", "--format", "sarif").out)
    (result,) = sarif["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("unchecked", "error")
    junit = ET.fromstring(command("scan", unknown, "--strict", "--format", "junit").out)  # noqa: S314 - our own output
    assert junit.get("failures") == "1"
    lax = ET.fromstring(command("scan", unknown, "--no-strict", "--format", "junit").out)  # noqa: S314 - our own output
    assert lax.get("failures") == "0"


def test_an_audited_global_may_be_allowed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"cos\ngetcwd\n)R.")
    name = next(
        name
        for name in ("posix.getcwd", "os.getcwd")
        if command("scan", tmp_path / "model.pkl", "--allow-global", name).status == 0
    )
    assert name == "os.getcwd"
    assert command("scan", tmp_path / "model.pkl").status == 1


def test_a_missing_path_is_wrong_use(command: Command, tmp_path: Path) -> None:
    outcome = command("scan", tmp_path / "absent")
    assert outcome.status == 2
    assert "absent" in outcome.said


def test_no_path_is_wrong_use(command: Command) -> None:
    outcome = command("scan")
    assert outcome.status == 2
    assert "PATH" in outcome.said


def test_control_sequences_in_a_name_are_not_sent_to_the_terminal(
    command: Command, tmp_path: Path
) -> None:
    hostile = tmp_path / "\x1b[2Jmodel.pkl"
    hostile.write_bytes(malicious_pickle(tmp_path / "trace"))
    outcome = command("scan", hostile)
    assert outcome.status == 1
    assert "\x1b" not in outcome.out
    assert "\\x1b[2Jmodel.pkl" in outcome.out


def test_an_empty_folder_is_told_and_holds_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command("scan", tmp_path, "--format", "json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["verdicts"][0]["format"] == "folder"


def test_what_lies_in_an_archive_is_told_with_its_place(command: Command, tmp_path: Path) -> None:
    bad = malicious_pickle(tmp_path / "ran")
    with zipfile.ZipFile(tmp_path / "models.zip", "w") as archive:
        archive.writestr("inner/m.pkl", bad)
    outcome = command("scan", tmp_path, "--format", "json")
    (verdict,) = json.loads(outcome.out)["verdicts"]
    assert outcome.status == 1
    assert verdict["findings"][0]["where"].startswith(f"{tmp_path / 'models.zip'}!/inner/m.pkl")
    assert not (tmp_path / "ran").exists()


def test_what_an_exception_let_through_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(malicious_pickle(tmp_path / "ran"))
    options = "--allow-global", "posix.mkdir", "--format", "json"
    outcome = command("scan", tmp_path / "m.pkl", *options)
    (finding,) = json.loads(outcome.out)["verdicts"][0]["findings"]
    assert outcome.status == 0
    assert finding["rule"] == "allowed-by-name"
    assert "posix.mkdir" in finding["message"]
