"""Access decisions and lints from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.access.test_rules import TOML
from tests.cli.conftest import Command


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(TOML)
    return path


def request(policy: Path, subject: str = "ann", rows: int = 10) -> tuple[object, ...]:
    return (
        "--policy", policy, "--subject", subject, "--action", "dataset:read", "--resource",
        "payments/2026", "--attribute", "purpose=audit", f"rows={rows}", "cleared=true", "--at",
        "2026-03-01T12:00:00+00:00",
    )  # fmt: skip


def test_check_decides_and_explain_says_why(command: Command, policy: Path) -> None:
    allowed = command("access", "check", *request(policy), "--format", "json")
    assert (allowed.status, json.loads(allowed.out)["allowed"]) == (0, True)
    denied = command("access", "check", *request(policy, "eve"))
    assert (denied.status, denied.out.startswith("denied: eve")) == (1, True)
    explained = command("access", "explain", *request(policy, rows=5000), "--format", "json")
    value = json.loads(explained.out)
    assert (explained.status, value["allowed"], value["groups"]) == (1, False, ["fraud-team"])
    assert value["rules"][0]["broken"] == ["rows"]
    assert "condition rows" in command("access", "explain", *request(policy, rows=5000)).out


def test_loose_files_and_buckets_are_found(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("1")
    assert command("access", "files", tmp_path / "data").status == 0
    (tmp_path / "data" / "rows.csv").chmod(0o666)
    outcome = command("access", "files", tmp_path / "data", "--format", "json")
    assert outcome.status == 1
    assert json.loads(outcome.out)["findings"][0]["rule"] == "world-writable"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "x"}
    (tmp_path / "bucket.json").write_text(json.dumps({"Statement": [statement]}))
    outcome = command("access", "bucket", tmp_path / "bucket.json")
    assert (outcome.status, "public-read" in outcome.out) == (1, True)


def test_wrong_use_of_access_is_told(command: Command, policy: Path, tmp_path: Path) -> None:
    for words in (
        ("check", "--policy", tmp_path / "absent", *request(policy)[2:]),
        ("check", *request(policy)[:-1], "2026-03-01T12:00:00"),
        ("check", *request(policy)[:-1], "soon"),
        ("check", "--policy", policy),
        ("bucket", policy),
        ("files", tmp_path / "absent"),
    ):
        outcome = command("access", *words)
        assert outcome.status == 2, words
        assert outcome.said
