"""The command dvc: outputs listed, signed and verified, whole or by target."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

POINTER = "outs:\n- md5: 7d793037a0760186574b0282f2f435e7\n  size: 5\n  hash: md5\n  path: {}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    for name in ("rows.csv", "more.csv"):
        (root / name).write_text("1,0\n")
        (root / f"{name}.dvc").write_text(POINTER.format(name))
    return root


@pytest.fixture
def key(command: Command, tmp_path: Path) -> Path:
    assert command("keygen", "--out", tmp_path / "key.pem").status == 0
    return tmp_path / "key.pem"


def test_outputs_are_listed_signed_and_verified(
    command: Command, repository: Path, key: Path
) -> None:
    public = key.with_name("key.pub.pem")
    assert command("dvc", "list", repository).out == "more.csv\nrows.csv\n"
    listed = json.loads(command("dvc", "list", repository, "--format", "json").out)
    assert listed == {"outputs": ["more.csv", "rows.csv"]}
    assert "dvc.sig" in command("dvc", "sign", repository, "--key", key).out
    verified = command("dvc", "verify", repository, "--key", public)
    assert (verified.status, "(2 files)" in verified.out) == (0, True)
    (repository / "rows.csv").write_text("1,1\n")
    outcome = command("dvc", "verify", repository, "--key", public)
    assert outcome.status == 1
    assert "changed 'rows.csv'" in outcome.said


def test_targets_of_a_partial_pull_are_verified_alone(
    command: Command, repository: Path, key: Path
) -> None:
    public = key.with_name("key.pub.pem")
    command("dvc", "sign", repository, "--key", key)
    (repository / "more.csv").unlink()
    outcome = command("dvc", "verify", repository, "--key", public)
    assert outcome.status == 2
    assert "dvc pull" in outcome.said
    words = ("dvc", "verify", repository, "rows.csv.dvc", "--key", public, "--format", "json")
    assert json.loads(command(*words).out)["files"] == 1
    assert command("dvc", "verify", repository, "nowhere", "--key", public).status == 2
    assert command("dvc", "list", repository / "nowhere").status == 2
