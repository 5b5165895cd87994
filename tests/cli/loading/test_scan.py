from __future__ import annotations

import itertools
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mlsecops.cli.loading import scan as scan_command
from mlsecops.loading import Verdict, scanner
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


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    (folder / "deep").mkdir(parents=True)
    for number in range(30):
        (folder / f"{number:02}.json").write_text("{}")
    (folder / "10.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "deep" / "15.pkl").write_bytes(malicious_pickle(tmp_path / "ran"))
    return folder


def test_refusals_and_the_number_of_files_by_format_come_last(command: Command, many: Path) -> None:
    lines = command("scan", many, "--strict").out.splitlines()
    assert sum(line.startswith("refused") for line in lines) == 2
    assert "32 files scanned: 2 refused, 1 with something unchecked" in lines[-1]
    assert "1 refused only for that" in lines[-1]
    assert lines[-2] == "by format: companion 30, pickle 1, unknown 1"
    assert {"15.pkl", "10.png"} == {name for name in ("15.pkl", "10.png", "03.json")
        if any(name in line for line in lines[-4:-2])}  # fmt: skip


def test_verdicts_are_printed_before_the_last_file_is_scanned(
    command: Command, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scan_command.scan_stream

    def interrupted(*path: object, **options: object) -> Iterator[Verdict]:
        yield from itertools.islice(whole(*path, **options), 3)  # type: ignore[arg-type] # forwarded
        raise KeyboardInterrupt

    monkeypatch.setattr(scan_command, "scan_stream", interrupted)
    outcome = command("scan", many)
    assert outcome.status == 130
    assert outcome.out.splitlines()[-1].startswith("3 files scanned")


def test_one_bad_entry_does_not_end_the_scan_of_the_rest(
    command: Command, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (many / "dangling").symlink_to("nowhere")
    (many / "loop").symlink_to("loop")
    os.mkfifo(many / "pipe")
    (many / "locked").mkdir()
    real = os.scandir

    def denied(path: Any) -> Any:
        if isinstance(path, int) and Path(f"/proc/self/fd/{path}").readlink().name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    outcome = command("scan", many, tmp_path / "absent", "--format", "json")
    verdicts = {Path(v["path"]).name: v for v in json.loads(outcome.out)["verdicts"]}
    assert outcome.status == 1
    assert "absent" in outcome.err
    assert len(verdicts) == 36
    for name in ("dangling", "loop", "pipe", "locked", "15.pkl"):
        assert verdicts[name]["refused"], name
    assert "Permission denied" in verdicts["locked"]["findings"][0]["message"]


def test_a_file_that_vanishes_is_refused_by_name(
    command: Command, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scanner.scan_entries

    def vanishing(*path: Any, **options: Any) -> Any:
        found = real(*path, **options)
        (many / "05.json").unlink()
        return found

    monkeypatch.setattr(scanner, "scan_entries", vanishing)
    outcome = command("scan", many)
    assert outcome.status == 1
    assert f"refused   {many / '05.json'} (unreadable)" in outcome.out
    assert f"passed    {many / '06.json'}" in outcome.out


@pytest.mark.parametrize("pattern", ["deep", "deep/15.pkl", "*.pkl", "./deep/", "d*p"])
def test_what_is_excluded_is_said_and_not_scanned(
    command: Command, many: Path, pattern: str
) -> None:
    outcome = command("scan", many, "--exclude", pattern, "--exclude", "*.png", "--strict")
    assert outcome.status == 0
    assert "15.pkl" not in outcome.out
    assert "2 of its files left out" in outcome.out


def test_an_exclusion_of_another_name_excludes_nothing(command: Command, many: Path) -> None:
    outcome = command("scan", many, "--exclude", "15", "--exclude", "eep", "--exclude", "pkl")
    assert outcome.status == 1
    assert "left out" not in outcome.out


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_a_baseline_lets_known_findings_pass_and_new_ones_fail(
    command: Command, many: Path, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "baseline"
    file.write_text(command("scan", many, "--strict", "--format", form).out)
    again = command("scan", many, "--strict", "--baseline", file)
    assert again.status == 0, again.out
    assert "known: " in again.out
    (many / "new.pkl").write_bytes(malicious_pickle(tmp_path / "ran"))
    (many / "deep" / "15.pkl").write_bytes(b"cos\nsystem\n.")
    newer = command("scan", many, "--strict", "--baseline", file)
    assert newer.status == 1
    assert "2 refused" in newer.out.splitlines()[-1]
    assert "of its findings are gone" in newer.err


def test_a_scan_with_a_baseline_is_a_baseline(command: Command, many: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(command("scan", many, "--format", "json").out)
    second.write_text(command("scan", many, "--format", "json", "--baseline", first).out)
    assert json.loads(second.read_text()) != json.loads(first.read_text())
    assert command("scan", many, "--baseline", second, "--strict").status == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other/1"}', '{"runs": [{}]}'])
def test_a_file_that_is_no_baseline_is_wrong_use(
    command: Command, many: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "file").write_text(text)
    outcome = command("scan", many, "--baseline", tmp_path / "file")
    assert outcome.status == 2
    assert str(tmp_path / "file") in outcome.err
    assert command("scan", many, "--baseline", tmp_path / "absent").status == 2
