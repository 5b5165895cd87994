from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlsecops.provenance import hash_path
from mlsecops.registry import Registry
from mlsecops.signing import PublicKey, Signer, TrustPolicy, sign
from tests.cli.conftest import Command, Outcome, Release
from tests.incident.conftest import alert_about


@pytest.fixture
def location(release: Release) -> Path:
    """A registry in which the second version serves."""
    signer = Signer.from_pem(release.key)
    policy = TrustPolicy(keys=[PublicKey.load(release.public)])
    place = release.folder / "registry"
    registry = Registry(place, signer=signer, policy=policy)
    registry.publish("digits", release.model)
    (release.model / "README.md").write_text("the second version")
    sign(release.model, signer)
    registry.publish("digits", release.model)
    registry.promote("digits", 2, "serving")
    return place


@pytest.fixture
def alert(release: Release, location: Path) -> Path:
    assert location.is_dir()
    path = release.folder / "alert.json"
    path.write_text(json.dumps(alert_about(str(hash_path(release.model).root)).to_dict()))
    return path


@pytest.fixture
def incident(command: Command, release: Release, location: Path) -> Command:
    def run(*words: object, signer: bool = True) -> Outcome:
        signed = ("--signer", release.key) if signer else ()
        return command(
            "incident", "--location", location, *words, "--key", release.public, *signed,
            "--format", "json",
        )  # fmt: skip

    return run


@pytest.fixture
def opened(incident: Command, alert: Path) -> str:
    outcome = incident("open", alert)
    assert outcome.status == 0, outcome.err
    return str(json.loads(outcome.out)["id"])


def states(outcome: Outcome) -> dict[str, str]:
    return {step["name"]: step["state"] for step in json.loads(outcome.out)["steps"]}


def test_the_same_alert_opens_the_same_incident(
    incident: Command, alert: Path, opened: str
) -> None:
    again = json.loads(incident("open", alert).out)
    assert (again["id"], again["state"]) == (opened, "open")


def test_a_dry_run_changes_nothing(incident: Command, opened: str, location: Path) -> None:
    before = {path: path.read_bytes() for path in location.rglob("*") if path.is_file()}
    outcome = incident("run", opened, "--dry-run", signer=False)
    assert outcome.status == 0
    assert set(states(outcome).values()) == {"pending"}
    assert {path: path.read_bytes() for path in location.rglob("*") if path.is_file()} == before


def test_a_run_isolates_the_digest_and_rolls_back(
    command: Command, incident: Command, opened: str, release: Release, location: Path
) -> None:
    outcome = incident("run", opened)
    assert outcome.status == 0
    done = [name for name, state in states(outcome).items() if state == "done"]
    assert done == ["isolate", "assess", "rollback", "forensics"]
    here = ("registry", "--location", location, "resolve", "digits")
    assert "version 1" in command(*here, "--key", release.public).out
    assert command(*here, "2", "--key", release.public).status == 1


def test_people_complete_and_close_an_incident(incident: Command, opened: str) -> None:
    incident("run", opened)
    for step in ("remediate", "validate"):
        done = incident("complete", opened, step, "--by", "Ada", "--note", "looked at it")
        assert states(done)[step] == "done"
    waiting = incident("run", opened)
    assert states(waiting)["close"] == "waiting"
    closed = incident("run", opened, "--approve", "close")
    assert (closed.status, json.loads(closed.out)["state"]) == (0, "closed")
    assert json.loads(incident("show", opened, signer=False).out)["state"] == "closed"


def test_all_incidents_are_listed(incident: Command, opened: str) -> None:
    (listed,) = json.loads(incident("show", signer=False).out)
    assert listed["id"] == opened


def test_a_step_that_is_not_for_people_cannot_be_completed(incident: Command, opened: str) -> None:
    outcome = incident("complete", opened, "isolate", "--by", "Ada", "--note", "done")
    assert outcome.status == 1
    assert "isolate" in outcome.said


def test_text_shows_each_step(
    command: Command, release: Release, location: Path, opened: str
) -> None:
    outcome = command("incident", "--location", location, "show", opened, "--key", release.public)
    assert outcome.status == 0
    assert "isolate" in outcome.out
    assert "model thief" in outcome.out


def test_an_alert_that_is_none_is_wrong_use(incident: Command, alert: Path) -> None:
    good = json.loads(alert.read_text())
    wrong: list[object] = [
        [],
        {},
        "text",
        {**good, "at": "2026-03-01T12:00:00"},
        {**good, "at": "yesterday"},
        {**good, "severity": "awful"},
        {**good, "severity": 3},
        {**good, "rule": ""},
        {**good, "digest": 5},
        {**good, "reading": "much"},
        {**good, "threshold": "nan"},
        {**good, "digest": "sha256:short"},
    ]
    for value in wrong:
        alert.write_text(json.dumps(value))
        outcome = incident("open", alert)
        assert outcome.status == 2, value
        assert outcome.said


def test_wrong_use_is_told_apart(
    command: Command, incident: Command, opened: str, alert: Path
) -> None:
    for words, told in (
        (("open", alert.parent / "absent.json"), "UsageError: cannot read"),
        (("run", "../../etc"), "inc-"),
        (("run", "inc-" + "0" * 20), "no incident"),
        (("run", opened, "--approve", "everything"), "everything"),
        (("burn", opened), "burn"),
    ):
        outcome = incident(*words)
        assert outcome.status == 2, words
        assert told in outcome.said
    assert "--signer" in incident("run", opened, signer=False).said
    assert command("incident", "show", opened).status == 2


def test_a_report_opens_an_incident_that_is_exported(
    incident: Command, release: Release, tmp_path: Path
) -> None:
    key = PublicKey.load(release.public).fingerprint
    report = ("report", "--kind", "leaked-key", "--digest", key, "--message", "in a repository")
    value = json.loads(incident(*report).out)
    assert (value["kind"], value["digest"], value["state"]) == (
        "leaked-key",
        f"sha256:{key}",
        "open",
    )
    assert json.loads(incident(*report).out)["id"] == value["id"]
    assert {deadline["step"] for deadline in value["deadlines"]} >= {"isolate", "close"}
    ran = json.loads(incident("run", value["id"]).out)
    [assessed] = [step for step in ran["steps"] if step["name"] == "assess"]
    assert assessed["result"]["versions"] == ["digits 1", "digits 2"]
    shows = {
        "ocsf": '"class_uid": 2005',
        "stix": '"bundle"',
        "thehive": "sourceRef",
        "navigator": "AML.T0055",
        "html": "<!doctype html>",
    }
    for form, says in shows.items():
        outcome = incident("export", value["id"], "--as", form, signer=False)
        assert (outcome.status, says in outcome.out) == (0, True), form
    out = tmp_path / "incident.html"
    assert incident("export", value["id"], "--as", "html", "--out", out, signer=False).status == 0
    assert out.stat().st_mode & 0o077 == 0
    for wrong in (("--kind", "flood"), ("--digest", "sha256:12"), ("--message", " ")):
        assert incident(*report, *wrong).status == 2, wrong


def test_what_a_leaked_key_signed_is_signed_again(
    command: Command, incident: Command, release: Release, location: Path, tmp_path: Path
) -> None:
    new = Signer.generate("p256")
    (tmp_path / "new.pem").write_bytes(new.to_pem())
    (tmp_path / "new.pub.pem").write_text(new.public_key.pem)
    key = PublicKey.load(release.public).fingerprint
    opened = json.loads(
        incident("report", "--kind", "leaked-key", "--digest", key, "--message", "m").out
    )["id"]
    both = ("--key", tmp_path / "new.pub.pem", "--log-key", release.public)
    here = ("registry", "--location", location, "resolve", "digits")
    incident("run", opened)
    assert command(*here, "--key", release.public, *both).status == 1
    again = incident("run", opened, "--sign-again", tmp_path / "new.pem", *both)
    assert states(again)["remediate"] == "done", again.out
    assert command(*here, "--key", release.public, *both).status == 0
