from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.cli.conftest import Command, Outcome, Release, tamper


def test_the_dashboard_is_three_files(command: Command, tmp_path: Path) -> None:
    outcome = command("dashboard", "--out", tmp_path / "new" / "out", "--window", "15s")
    assert outcome.status == 0
    out = tmp_path / "new" / "out"
    assert {p.name for p in out.iterdir()} == {"dashboard.json", "dashboard.html", "alerts.yml"}
    assert json.loads((out / "dashboard.json").read_text())["panels"]
    (group,) = yaml.safe_load((out / "alerts.yml").read_text())["groups"]
    assert len(group["rules"]) >= 4
    assert any("[15s]" in rule["expr"] for rule in group["rules"])


def test_states_of_a_monitor_are_drawn(command: Command, tmp_path: Path) -> None:
    state = tmp_path / "noon.json"
    state.write_text('{"calls": 4711, "processed": 4711, "dropped": 0, "confidence": 0.9}')
    outcome = command("dashboard", "--out", tmp_path / "out", "--snapshot", state)
    assert outcome.status == 0
    assert "noon" in (tmp_path / "out" / "dashboard.html").read_text()


def test_a_dashboard_of_wrong_input_is_wrong_use(command: Command, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "file").write_text("")
    for words, told in (
        (("--out", tmp_path / "out", "--window", "soon"), "soon"),
        (("--out", tmp_path / "out", "--snapshot", tmp_path / "list.json"), "list.json"),
        (("--out", tmp_path / "out", "--snapshot", tmp_path / "absent.json"), "absent.json"),
        (("--out", tmp_path / "file" / "out"), "file"),
        ((), "--out"),
    ):
        outcome = command("dashboard", *words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_a_diagram_shows_the_declared_controls(command: Command, tmp_path: Path) -> None:
    controls = tmp_path / "controls.json"
    controls.write_text('{"Rate limit": {"state": "enforced", "where": "the gateway"}}')
    outcome = command("diagram", "--out", tmp_path / "out", "--controls", controls)
    assert outcome.status == 0
    assert "Rate limit (enforced)" in (tmp_path / "out" / "architecture.mmd").read_text()
    assert "Isolation (absent)" in (tmp_path / "out" / "architecture.mmd").read_text()
    assert "the gateway" in (tmp_path / "out" / "architecture.html").read_text()
    assert ET.parse(tmp_path / "out" / "architecture.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own output


def test_a_diagram_of_wrong_input_is_wrong_use(command: Command, tmp_path: Path) -> None:
    controls = tmp_path / "controls.json"
    for text, told in (
        ("{", "JSON"),
        ("[]", "object"),
        ('{"Moat": "enforced"}', "Moat"),
        ('{"Rate limit": "always"}', "always"),
        ('{"Rate limit": {"state": "enforced", "where": 7}}', "where"),
    ):
        controls.write_text(text)
        outcome = command("diagram", "--out", tmp_path / "out", "--controls", controls)
        assert outcome.status == 2, text
        assert told in outcome.said
    assert not (tmp_path / "out").exists()


@pytest.fixture
def robustness(command: Command, release: Release) -> Path:
    path = release.folder / "robustness.json"
    outcome = command(
        "attack", "--model", release.model, "--data", release.data, "--key", release.public,
        "--arch", "nets:build", "--attack", "fgsm", "--eps", "0.05", "--format", "json",
    )  # fmt: skip
    path.write_text(outcome.out)
    return path


@pytest.fixture
def deliver(command: Command, release: Release) -> Command:
    def run(*words: object, key: Path | None = None) -> Outcome:
        return command(
            "deliver", "--model", release.model, "--key", key or release.public,
            "--dataset", f"data.npz={release.data}", "--out", release.folder / "out", *words,
        )  # fmt: skip

    return run


def test_six_deliverables_are_written(
    command: Command, deliver: Command, robustness: Path, release: Release
) -> None:
    registry = release.folder / "registry"
    published = command(
        "registry", "--location", registry, "publish", "digits", release.model,
        "--key", release.public, "--signer", release.key,
    )  # fmt: skip
    assert published.status == 0
    outcome = deliver("--robustness", robustness, "--min-accuracy", "0.30", "--registry", registry)
    assert outcome.status == 0, outcome.err
    out = release.folder / "out"
    for line in outcome.out.splitlines():
        assert Path(line).is_file()
    assert (out / "index.html").is_file()
    assert json.loads((out / "robustness.json").read_text())["verdict"] == "pass"
    assert "Registry log (enforced)" in (out / "architecture.mmd").read_text()
    bill = command(
        "bom", "verify", out / "bom.cdx.json", "--model", release.model,
        "--dataset", f"data.npz={release.data}", "--key", release.public,
    )  # fmt: skip
    assert bill.status == 0, bill.out


def test_an_older_log_of_the_registry_is_not_delivered(
    command: Command, deliver: Command, robustness: Path, release: Release
) -> None:
    registry, pinned = release.folder / "registry", release.folder / "pinned.txt"
    actions = ["registry", "--location", registry]
    trust = ["--key", release.public]
    writing = [*trust, "--signer", release.key]
    assert command(*actions, "publish", "digits", release.model, *writing).status == 0
    shutil.copytree(registry, release.folder / "older")
    assert command(*actions, "promote", "digits", "1", "serving", *writing).status == 0
    assert command(*actions, "verify-log", "--out", pinned, *trust).status == 0
    words = ["--robustness", robustness, "--pinned", pinned]
    assert deliver(*words, "--registry", registry).status == 0
    shutil.rmtree(registry)
    shutil.copytree(release.folder / "older", registry)
    outcome = deliver(*words, "--registry", registry)
    assert (outcome.status, "RollbackRefused" in outcome.said) == (1, True), outcome.said
    absent = ["--robustness", robustness, "--pinned", release.folder / "absent"]
    assert deliver(*absent, "--registry", registry).status == 2
    assert deliver(*words).status == 2


def test_a_failed_gate_is_delivered_and_told(deliver: Command, robustness: Path) -> None:
    outcome = deliver("--robustness", robustness, "--min-accuracy", "0.99")
    assert outcome.status == 1
    assert "robustness gate: fail" in outcome.said


def test_without_a_report_the_rest_is_delivered_and_no_gate_passes(
    deliver: Command, release: Release
) -> None:
    for words, status, told in (
        ((), 0, "robustness not measured: expected a robustness report, got none"),
        (("--min-accuracy", "0"), 1, "robustness gate: not judged: expected a robustness report"),
    ):
        outcome = deliver(*words)
        assert outcome.status == status, outcome.said
        assert told in outcome.err
        assert "mlsecops attack --format json" in outcome.err
        assert not (release.folder / "out" / "robustness.json").exists()
        assert "not measured" in (release.folder / "out" / "index.html").read_text()


def test_a_report_about_another_model_is_refused(
    deliver: Command, robustness: Path, release: Release
) -> None:
    value = json.loads(robustness.read_text())
    robustness.write_text(json.dumps({**value, "model_digest": "sha256:" + "0" * 64}))
    outcome = deliver("--robustness", robustness)
    assert outcome.status == 1
    assert "DigestMismatch" in outcome.said
    assert not (release.folder / "out").exists()


def test_a_prettier_report_is_refused(deliver: Command, robustness: Path) -> None:
    value = json.loads(robustness.read_text())
    value["attacks"][0]["accuracy"] = 1.0
    robustness.write_text(json.dumps(value))
    assert deliver("--robustness", robustness).status == 2


def test_a_tampered_or_untrusted_model_is_not_delivered(
    deliver: Command, robustness: Path, release: Release
) -> None:
    assert deliver("--robustness", robustness, key=release.stranger).status == 1
    tamper(release.model / "model.safetensors")
    assert deliver("--robustness", robustness).status == 1
    assert not (release.folder / "out").exists()


def test_wrong_use_of_deliver_is_told_apart(deliver: Command, release: Release) -> None:
    for words, told in (
        (("--robustness", release.folder / "absent"), "absent"),
        (("--robustness", release.folder / "nets.py"), "JSON"),
        (("--registry", release.folder / "absent"), "expected the folder of a registry"),
        (("--min-accuracy", "9"), "share"),
        (("--dataset", "nothing"), "NAME=PATH"),
    ):
        outcome = deliver(*words)
        assert outcome.status == 2, words
        assert told in outcome.said
