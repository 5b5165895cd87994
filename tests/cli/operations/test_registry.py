from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from mlsecops.signing import Signer, sign
from tests.attackers.registry import (
    as_earlier_release,
    copy_log,
    forge_event,
    remove_log,
    restore_log,
)
from tests.buckets import s3_bucket
from tests.cli.conftest import Command, Outcome, Release
from tests.services import free_port

_WRITES = {"promote", "quarantine", "rollback"}


@pytest.fixture
def registry(command: Command, release: Release) -> Command:
    location = release.folder / "registry"

    def run(*words: object, signer: bool = False) -> Outcome:
        signed = ("--signer", release.key) if signer else ()
        return command(
            "registry", "--location", location, *words, "--key", release.public, *signed,
            "--format", "json",
        )  # fmt: skip

    return run


@pytest.fixture
def two(registry: Command, release: Release) -> Path:
    """A registry with two versions, of which the second serves."""
    assert registry("publish", "digits", release.model, signer=True).status == 0
    (release.model / "README.md").write_text("the second version")
    sign(release.model, Signer.from_pem(release.key))
    assert registry("publish", "digits", release.model, signer=True).status == 0
    assert registry("promote", "digits", "2", "serving", signer=True).status == 0
    return release.folder / "registry"


def test_published_versions_are_promoted_and_resolved(registry: Command, two: Path) -> None:
    resolved = json.loads(registry("resolve", "digits").out)
    assert (resolved["version"], resolved["state"]) == (2, "serving")
    assert (Path(resolved["path"]) / "README.md").read_text() == "the second version"
    assert not Path(resolved["path"]).is_relative_to(two)
    assert json.loads(registry("resolve", "digits", "1").out)["version"] == 1


def test_a_quarantined_version_is_refused_and_rolled_back(registry: Command, two: Path) -> None:
    assert two.is_dir()
    out = registry("quarantine", "digits", "--reason", "it was stolen", signer=True)
    assert json.loads(out.out)["state"] == "quarantined"
    refused = registry("resolve", "digits", "serving")
    assert refused.status == 1
    assert "it was stolen" in refused.said
    for _ in range(2):
        done = registry("rollback", "digits", "--serving", "2", signer=True)
        assert json.loads(done.out)["version"] == 1
    assert json.loads(registry("resolve", "digits").out)["version"] == 1


def test_history_tells_what_happened(registry: Command, two: Path) -> None:
    assert two.is_dir()
    kinds = [event["type"] for event in json.loads(registry("history", "digits").out)]
    assert kinds == ["published", "published", "serving"]


def test_a_log_is_verified_against_a_pinned_checkpoint(registry: Command, two: Path) -> None:
    pin = two.parent / "pin.txt"
    value = json.loads(registry("verify-log", "--out", pin).out)
    assert value["size"] == 4
    assert pin.read_text() == value["checkpoint"]
    registry("rollback", "digits", signer=True)
    assert registry("verify-log", "--pinned", pin).status == 0


def test_an_older_copy_of_the_log_is_refused_by_the_pin(registry: Command, two: Path) -> None:
    pin = two.parent / "pin.txt"
    older = copy_log(two)
    registry("quarantine", "digits", "--reason", "it was stolen", signer=True)
    assert registry("verify-log", "--out", pin).status == 0
    restore_log(two, older)
    assert registry("verify-log").status == 0
    outcome = registry("verify-log", "--pinned", pin)
    assert outcome.status == 1
    assert outcome.said


@pytest.mark.parametrize(
    "words",
    [
        ("resolve", "digits"),
        ("history", "digits"),
        ("verify-log",),
        ("promote", "digits", "1", "serving"),
        ("quarantine", "digits", "--reason", "again"),
        ("rollback", "digits"),
    ],
)
def test_every_action_refuses_an_older_log_by_its_pin(
    registry: Command, two: Path, words: tuple[str, ...]
) -> None:
    pin = two.parent / "pin.txt"
    older = copy_log(two)
    assert registry("verify-log", "--out", pin).status == 0
    assert stat.S_IMODE(pin.stat().st_mode) == 0o600
    stolen = ("quarantine", "digits", "--reason", "it was stolen", "--pinned", pin)
    assert registry(*stolen, signer=True).status == 0
    restore_log(two, older)
    outcome = registry(*words, "--pinned", pin, signer=words[0] in _WRITES)
    assert outcome.status == 1
    assert "cut off" in outcome.said


def test_another_log_is_refused_by_its_name(registry: Command, two: Path) -> None:
    assert two.is_dir()
    outcome = registry("resolve", "digits", "--origin", "example.org/models")
    assert outcome.status == 1
    assert "another log" in outcome.said


def test_a_misspelt_pin_is_wrong_use(registry: Command, two: Path) -> None:
    outcome = registry("resolve", "digits", "--pinned", two.parent / "pni.txt")
    assert outcome.status == 2
    assert "verify-log --out" in outcome.said


def test_a_forged_log_is_refused(registry: Command, two: Path) -> None:
    forge_event(two, type="quarantined", digest="sha256:" + "0" * 64, reason="forged")
    for words in (("verify-log",), ("resolve", "digits"), ("history", "digits")):
        outcome = registry(*words)
        assert outcome.status == 1, words
        assert outcome.out == ""
        assert outcome.said


def test_a_registry_without_its_log_is_refused(registry: Command, two: Path) -> None:
    remove_log(two)
    assert registry("resolve", "digits").status == 1


def test_a_registry_of_a_strangers_log_is_refused(
    command: Command, release: Release, two: Path
) -> None:
    outcome = command(
        "registry", "--location", two, "verify-log", "--key", release.public,
        "--log-key", release.stranger,
    )  # fmt: skip
    assert outcome.status == 1
    assert outcome.said


def test_an_unsigned_model_is_not_published(registry: Command, release: Release) -> None:
    (release.model / "model.sig").unlink()
    outcome = registry("publish", "digits", release.model, signer=True)
    assert outcome.status == 1
    assert outcome.said


def test_location_may_stand_on_either_side(command: Command, release: Release, two: Path) -> None:
    outcome = command("registry", "resolve", "digits", "--location", two, "--key", release.public)
    assert outcome.status == 0
    assert "serving" in outcome.out


def test_wrong_use_is_told_apart(command: Command, release: Release, two: Path) -> None:
    trust = ("--key", release.public)
    here = ("registry", "--location", two)
    for words, told in (
        (("registry", "resolve", "digits", *trust), "--location"),
        (("registry", "--location", two / "absent", "resolve", "digits", *trust), "absent"),
        ((*here, "resolve", "digits"), "--key"),
        ((*here, "rollback", "digits", *trust), "--signer"),
        ((*here, "publish", "Not A Name", release.model, *trust, "--signer", release.key), "Not A"),
        ((*here, "promote", "digits", "0", "serving", *trust), "0"),
        ((*here, "promote", "digits", "2", "everywhere", *trust), "everywhere"),
        ((*here, "resolve", "digits", "newest", *trust), "newest"),
        ((*here, "verify-log", "--pinned", two / "absent", *trust), "absent"),
        ((*here, *trust), "publish|promote"),
    ):
        outcome = command(*words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_models_are_listed_and_shown(registry: Command, two: Path) -> None:
    assert two.is_dir()
    [listed] = json.loads(registry("list").out)
    assert (listed["name"], listed["versions"], listed["serving"]) == ("digits", 2, 2)
    shown = json.loads(registry("show", "digits").out)
    assert [each["state"] for each in shown["versions"]] == ["published", "serving"]
    assert json.loads(registry("raise-floor", "digits", "2", signer=True).out)["floor"] == 2
    assert json.loads(registry("list").out)[0]["floor"] == 2
    assert registry("resolve", "digits", "1").status == 1
    assert registry("show", "absent").status == 1


def test_another_key_takes_over_the_log(registry: Command, release: Release, two: Path) -> None:
    new = two.parent / "new.pem"
    new.write_bytes((taking := Signer.generate("ed25519")).to_pem())
    value = json.loads(registry("rotate-key", "--new-signer", new, signer=True).out)
    assert value["key"] == taking.public_key.fingerprint
    assert value["retired"] == Signer.from_pem(release.key).public_key.fingerprint
    assert value["vkeys"] == json.loads(registry("verify-log").out)["vkeys"]
    refused = registry("rollback", "digits", signer=True)
    assert refused.status == 1
    assert "rotated out" in refused.said


def test_a_log_of_an_earlier_release_is_migrated(
    registry: Command, release: Release, two: Path
) -> None:
    assert registry("migrate", signer=True).status == 1  # there is none
    as_earlier_release(two, Signer.from_pem(release.key))
    outcome = registry("resolve", "digits")
    assert outcome.status == 1
    assert "migrate" in outcome.said
    assert registry("migrate").status == 2
    assert json.loads(registry("migrate", signer=True).out)["size"] == 4
    assert json.loads(registry("resolve", "digits").out)["version"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--witness", "http://127.0.0.1:1"), "URL,VKEY"),
        (("list", "--quorum", "1"), "quorum"),
        (("list", "--storage", "endpoint"), "NAME=VALUE"),
        (("list", "--witness", "http://127.0.0.1:1,nonsense"), "witnesses"),
        (("witness", "--name", "w"), "--signer"),
    ],
)
def test_wrong_options_of_a_fleet_are_wrong_use(
    registry: Command, two: Path, words: tuple[str, ...], said: str
) -> None:
    assert two.is_dir()
    outcome = registry(*words)
    assert outcome.status == 2
    assert said in outcome.said


def test_a_registry_lies_in_a_bucket(command: Command, release: Release) -> None:
    with s3_bucket("fleet"):
        place = ("registry", "--location", "s3://fleet/models")
        trust = ("--key", release.public, "--format", "json")
        write = (*trust, "--signer", release.key)
        assert command(*place, "publish", "digits", release.model, *write).status == 0
        assert command(*place, "promote", "digits", "1", "serving", *write).status == 0
        assert json.loads(command(*place, "resolve", "digits", *trust).out)["version"] == 1
        url = os.environ["AWS_ENDPOINT_URL"]
        named = ("--storage", f"endpoint={url}")
        with pytest.MonkeyPatch.context() as patch:  # undone before the server's own settings
            patch.delenv("AWS_ENDPOINT_URL")
            assert command(*place, "resolve", "digits", *trust, *named).status == 0


def test_the_cache_of_this_machine_is_bounded(command: Command, tmp_path: Path) -> None:
    """No registry is named."""
    entry = tmp_path / "cache" / ("a" * 64)
    entry.mkdir(parents=True)
    (entry / "weights.bin").write_bytes(bytes(1000))
    prune = ("registry", "prune-cache", "--cache", tmp_path / "cache", "--format", "json")
    kept = command(*prune, "--max-bytes", "0")
    assert json.loads(kept.out) == {"deleted_bytes": 0}  # it was used within an hour
    assert json.loads(command(*prune, "--max-bytes", "0", "--unused-for", "0").out) == {
        "deleted_bytes": 1000
    }
    assert command(*prune, "--max-bytes", "-1").status == 2


def test_a_registry_that_cannot_be_reached_refuses_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1",
                        "ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    command("keygen", "--out", tmp_path / "k.pem")
    outcome = command("registry", "--location", "s3://fleet/r", "list",
                      "--key", tmp_path / "k.pub.pem")  # fmt: skip
    assert outcome.status == 2
    assert "s3://fleet/r" in outcome.said
