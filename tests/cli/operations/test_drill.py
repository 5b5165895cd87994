"""Drills of incidents from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlsecops.incident.guidance import DEFAULT_STEPS, KINDS
from mlsecops.registry import Registry
from mlsecops.signing import PublicKey, Signer, TrustPolicy, sign
from tests.cli.conftest import Command, Release


@pytest.fixture
def location(release: Release, tmp_path: Path) -> Path:
    """`digits` with two versions, and `churn` by another key, both signed in the policy."""
    signer, other = Signer.from_pem(release.key), Signer.generate("ed25519")
    policy = TrustPolicy(keys=[PublicKey.load(release.public), other.public_key])
    (release.folder / "other.pem").write_text(other.public_key.pem)
    (release.folder / "trust.toml").write_text(
        f'[[keys]]\npath = "{release.public}"\n[[keys]]\npath = "other.pem"\n'
    )
    place = tmp_path / "drilled"
    registry = Registry(place, signer=signer, policy=policy)
    registry.publish("digits", release.model)
    (release.model / "README.md").write_text("the second version")
    sign(release.model, signer)
    registry.publish("digits", release.model)
    registry.promote("digits", 2, "serving")
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "weights.bin").write_bytes(b"1")
    sign(tmp_path / "churn", other)
    registry.publish("churn", tmp_path / "churn")
    registry.promote("churn", 1, "serving")
    return place


def test_a_drill_plays_each_kind_in_a_copy(
    command: Command, release: Release, location: Path
) -> None:
    before = {path: path.read_bytes() for path in location.rglob("*") if path.is_file()}
    outcome = command(
        "drill", "--location", location, "--policy", release.folder / "trust.toml", "--signer",
        release.key, "--format", "json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.out
    value = json.loads(outcome.out)
    assert [drill["kind"] for drill in value["drills"]] == list(KINDS)
    for drill in value["drills"]:
        assert (drill["state"], drill["others_refused"]) == ("closed", 0), drill
        assert drill["others"] > 0
        assert [step["name"] for step in drill["steps"]] == list(DEFAULT_STEPS)
        assert all(step["seconds"] >= 0 for step in drill["steps"])
        assert drill["serves"] == (2 if drill["kind"] == "leaked-key" else 1)
        assert drill["missing"] == []
    assert {path: path.read_bytes() for path in location.rglob("*") if path.is_file()} == before


def test_a_drill_says_what_it_cannot_rehearse(
    command: Command, release: Release, tmp_path: Path
) -> None:
    signer = Signer.from_pem(release.key)
    policy = TrustPolicy(keys=[PublicKey.load(release.public)])
    registry = Registry(tmp_path / "one", signer=signer, policy=policy)
    registry.publish("digits", release.model)
    base = ("drill", "--location", tmp_path / "one", "--key", release.public, "--signer",
            release.key, "--kind", "extraction")  # fmt: skip
    outcome = command(*base)
    assert (outcome.status, "promote one" in outcome.said) == (1, True)
    registry.promote("digits", 1, "serving")
    outcome = command(*base)
    assert outcome.status == 1
    assert "digits has no older version that verifies" in outcome.out
    assert command(*base[:-1], "flood").status == 2
