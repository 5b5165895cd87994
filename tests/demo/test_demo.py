"""The whole command as a user runs it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from mlsecops import Manifest, Registry, TrustPolicy, Verified, hash_path, verify, verify_bom
from mlsecops.incident import Playbook
from mlsecops.reports import lint_bom

Demo = tuple[Path, str]


def trust(out: Path) -> TrustPolicy:
    return TrustPolicy(keys=[out / "signing" / "release.pub.pem"])


def verified_model(out: Path) -> Verified:
    return verify(out / "model", policy=trust(out))


def test_every_step_is_told_with_its_time(demo: Demo) -> None:
    _, story = demo
    for number in range(1, 9):
        assert f"[{number}/8]" in story
    assert sum(line.strip().endswith(" s") for line in story.splitlines()) >= 8


def test_a_flipped_byte_of_the_data_is_named(demo: Demo) -> None:
    _, story = demo
    assert "tampered copy     DigestMismatch" in story
    assert "'train.npz'" in story


def test_the_first_model_fails_the_gate_and_only_models_that_pass_are_published(
    demo: Demo,
) -> None:
    out, story = demo
    verdicts = [line.rsplit("→", 1)[1].strip() for line in story.splitlines() if "→" in line]
    assert verdicts[0] == "fail"
    published = len(Registry(out / "registry", policy=trust(out)).versions("digits"))
    assert verdicts.count("pass") == published == 2


def test_three_attacks_on_the_loader_are_refused_and_nothing_runs(demo: Demo) -> None:
    _, story = demo
    assert "tampered copy     DigestMismatch" in story
    assert "unsigned copy     SignatureMissing" in story
    assert "malicious pickle  UnsafeContent" in story
    assert "must never appear" not in story


def test_normal_traffic_is_quiet_and_attacks_are_not(demo: Demo) -> None:
    _, story = demo
    lines = {line.strip()[:17].strip(): line for line in story.splitlines()}
    assert "no alert" in lines["normal traffic"]
    assert "drift" in lines["drifted inputs"].split("alerts:")[1]
    assert "extraction" not in lines["drifted inputs"]
    assert "extraction" in lines["a model thief"].split("alerts:")[1]


@pytest.mark.parametrize("seed", ["1", "3"])
def test_other_seeds_end_as_well_and_take_no_fading_lamp_for_a_thief(
    tmp_path: Path, seed: str
) -> None:
    finished = run("--out", str(tmp_path / "out"), "--seed", seed, timeout=600)
    assert finished.returncode == 0, finished.stderr
    test_normal_traffic_is_quiet_and_attacks_are_not((tmp_path / "out", finished.stdout))


def test_the_second_server_answers_before_the_incident_and_refuses_after(demo: Demo) -> None:
    _, story = demo
    answers = [line for line in story.splitlines() if line.strip().startswith("second server")]
    assert "ok " in answers[0]
    assert "refused ModelIsolated" in answers[1]


def test_the_isolated_version_is_refused_and_the_earlier_one_serves_and_verifies(
    demo: Demo,
) -> None:
    out, _ = demo
    registry = Registry(out / "registry", policy=trust(out))
    registry.verify_log()
    serving = registry.resolve("digits", "serving")
    assert serving.version == 1
    assert serving.digest == verified_model(out).digest
    isolated = [version for version in registry.versions("digits") if version.version == 2]
    assert registry.isolated(isolated[0].digest)


def test_the_signature_covers_model_provenance_and_bill(demo: Demo) -> None:
    out, _ = demo
    verified = verified_model(out)
    kinds = {statement.predicate_type for statement in verified.statements}
    assert kinds >= {"https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"}
    assert verified.digest == hash_path(out / "model").root
    assert (out / "signing" / "model.sig").read_bytes() == (out / "model/model.sig").read_bytes()


def test_the_other_implementation_accepts_the_bundle(demo: Demo) -> None:
    out, _ = demo
    words = ["verify", "key", out / "model", "--signature", out / "signing" / "model.sig"]
    words += ["--public_key", out / "signing" / "release.pub.pem"]
    checked = subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_no_private_key_is_left_anywhere(demo: Demo) -> None:
    out, _ = demo
    for path in out.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


def test_the_provenance_joins_data_and_model(demo: Demo) -> None:
    out, _ = demo
    statement = json.loads((out / "signing" / "provenance.json").read_text())
    data = Manifest.load(out / "data-manifest.json")
    data.verify(out / "data")
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"][0]["digest"]["sha256"] == verified_model(out).digest.hex
    inputs = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert inputs[0]["digest"]["sha256"] == data.root.hex


def test_the_svg_parses_and_names_every_stage(demo: Demo) -> None:
    out, _ = demo
    root = ET.fromstring((out / "architecture.svg").read_text())  # noqa: S314 - our own file
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = " ".join(root.itertext())
    for stage in ("Training run", "Registry", "Loader", "Monitored", "Incident"):
        assert stage in text
    assert (out / "architecture.mmd").read_text().startswith(("flowchart", "---"))


def test_the_robustness_figures_are_of_this_model(demo: Demo) -> None:
    out, _ = demo
    report = json.loads((out / "robustness.json").read_text())
    assert report["verdict"] == "pass"
    assert report["model_digest"] == str(verified_model(out).digest)
    assert {attack["name"] for attack in report["attacks"]} == {"fgsm", "pgd"}
    for figure in (report["clean"], *report["attacks"]):
        low, high = figure["interval"]
        assert low <= figure["accuracy"] <= high


def test_the_bill_validates_and_every_digest_in_it_is_true(demo: Demo) -> None:
    out, _ = demo
    bom = json.loads((out / "bom.cdx.json").read_text())
    assert lint_bom(bom) == []
    report = verify_bom(
        bom,
        model=out / "model",
        datasets={"digits": out / "data"},
        verified=verified_model(out),
        robustness=json.loads((out / "robustness.json").read_text()),
    )
    assert report.holds, report.findings
    assert not report.findings


def test_the_dashboard_has_its_panels_and_the_rules_parse(demo: Demo) -> None:
    out, _ = demo
    panels = " ".join(
        p["title"] for p in json.loads((out / "dashboard.json").read_text())["panels"]
    )
    for wanted in ("confidence", "query rate", "accuracy", "anomaly", "drift"):
        assert wanted in panels.lower()
    rules = [
        rule
        for group in yaml.safe_load((out / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) >= 4


def test_the_playbook_has_steps(demo: Demo) -> None:
    out, _ = demo
    playbook = json.loads((out / "playbook.json").read_text())
    names = [step["name"] for step in playbook["steps"]]
    assert names == [step.name for step in Playbook.default().steps]
    assert (out / "playbook.md").read_text().startswith("# ")


def test_the_index_links_only_to_files_that_exist(demo: Demo) -> None:
    out, _ = demo
    page = (out / "index.html").read_text()
    links = [part.split('"')[0] for part in page.split('href="')[1:]]
    assert len(links) >= 12
    for link in links:
        assert (out / link).is_file(), link


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "mlsecops", "demo", *words],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_a_used_folder_is_refused_and_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    finished = run("--out", str(tmp_path))
    assert finished.returncode == 2
    assert "--overwrite" in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("step", ["[1/8]", "[3/8]"])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, step: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mlsecops", "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if step in line:
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden names too


def test_overwriting_keeps_files_that_are_not_the_demos(tmp_path: Path) -> None:
    from mlsecops.demo.staging import staged  # noqa: PLC0415 - the one internal that is tested

    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    (out / "model" / "old.bin").write_text("old")
    (out / "mine.txt").write_text("precious")
    with staged(out, overwrite=True) as private:
        (private / "model").mkdir()
        (private / "model" / "new.bin").write_text("new")
    assert [path.name for path in (out / "model").iterdir()] == ["new.bin"]
    assert (out / "mine.txt").read_text() == "precious"


def figures(out: Path) -> tuple[object, str]:
    report = json.loads((out / "robustness.json").read_text())
    return {key: report[key] for key in ("clean", "attacks", "n")}, str(verified_model(out).digest)


def test_the_same_seed_gives_the_same_model_and_figures(demo: Demo, tmp_path: Path) -> None:
    out, _ = demo
    again = tmp_path / "again"
    finished = run("--out", str(again), "--seed", "0", timeout=600)
    assert finished.returncode == 0, finished.stderr
    assert figures(again) == figures(out)


def test_keras_tells_the_same_story(tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished = run("--out", str(out), "--framework", "tensorflow", timeout=600)
    assert finished.returncode == 0, finished.stderr
    assert "[8/8]" in finished.stdout
    test_normal_traffic_is_quiet_and_attacks_are_not((out, finished.stdout))
    assert (out / "model" / "model.keras").is_file()
    assert verified_model(out).digest == hash_path(out / "model").root


@pytest.mark.parametrize(
    ("module", "framework", "extra"),
    [("torch", "torch", "torch"), ("tensorflow", "tensorflow", "tensorflow")],
)
def test_a_missing_framework_is_named_with_its_install_command(
    tmp_path: Path, module: str, framework: str, extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from mlsecops.cli import main\n"
        f"words = ['demo', '--out', {str(tmp_path / 'out')!r}, '--framework', {framework!r}]\n"
        "sys.exit(main(words))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert f'pip install "mlsecops-sdk[{extra}]"' in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()
