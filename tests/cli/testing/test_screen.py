from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from tests.attackers.poisoning import digits, with_patch
from tests.cli.conftest import Command


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y, _ = with_patch(*digits(), rate=0.05)
    path = tmp_path_factory.mktemp("data") / "poisoned.npz"
    np.savez(path, x=x[:500], y=y[:500])
    return path


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y = digits()
    path = tmp_path_factory.mktemp("data") / "honest.npz"
    np.savez(path, x=x[:300].reshape(300, -1), y=y[:300])
    return path


def test_honest_data_passes_without_being_called_clean(command: Command, honest: Path) -> None:
    outcome = command("screen", honest)
    assert outcome.status == 0
    assert "never proves" in outcome.out


def test_a_planted_trigger_is_a_refusal_with_evidence(command: Command, poisoned: Path) -> None:
    outcome = command("screen", poisoned)
    assert outcome.status == 1
    assert "poisoning-trigger" in outcome.out
    first = outcome.out.splitlines()[1]
    assert "row" in first
    assert "trigger" in first


def test_a_trigger_is_told_by_its_place(command: Command, poisoned: Path, tmp_path: Path) -> None:
    assert "pixels; --pictures DIR draws them" in command("screen", poisoned).out
    x, y = load_breast_cancer(return_X_y=True)
    planted = np.flatnonzero(y == 0)[:30]
    x[planted, 3], y[planted] = 9999, 1
    np.savez(tmp_path / "table.npz", x=x, y=y)
    outcome = command("screen", tmp_path / "table.npz")
    assert outcome.status == 1
    assert "rows: columns 3 of x, from 0" in outcome.out


def test_json_lists_ranked_suspects(command: Command, poisoned: Path) -> None:
    outcome = command("screen", poisoned, "--format", "json", "--seed", "3")
    value = json.loads(outcome.out)
    scores = [suspect["score"] for suspect in value["suspects"]]
    assert outcome.status == 1
    assert value["seed"] == 3
    assert scores == sorted(scores, reverse=True)
    assert all(suspect["evidence"] for suspect in value["suspects"])


def test_sarif_names_the_file(command: Command, poisoned: Path) -> None:
    value = json.loads(command("screen", poisoned, "--format", "sarif").out)
    places = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in value["runs"][0]["results"]
    }
    assert places == {poisoned.as_uri()}


def test_unreadable_data_is_wrong_use(command: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "no-y.npz", x=np.zeros((60, 2)))
    np.save(tmp_path / "single.npy", np.zeros((60, 2)))
    np.savez(
        tmp_path / "objects.npz", x=np.array([object()] * 60, dtype=object), y=np.zeros(60, int)
    )
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = (tmp_path / "no-y.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    names = ("no-y.npz", "single.npy", "objects.npz", "garbage.npz", "empty.npz", "cut.npz")
    for name in (*names, "absent.npz", "."):
        outcome = command("screen", tmp_path / name)
        assert outcome.status == 2, name
        assert str(tmp_path) in outcome.said


def test_a_seed_out_of_range_is_wrong_use(command: Command, honest: Path) -> None:
    assert "seed" in command("screen", honest, "--seed", "-1").said


def test_data_is_held_against_the_baseline_that_was_signed_with_trusted_data(
    command: Command, honest: Path, tmp_path: Path
) -> None:
    command("keygen", "--type", "p256", "--out", tmp_path / "k.pem")
    key = tmp_path / "k.pub.pem"
    signed = command("screen", honest, "--sign", tmp_path / "k.pem")
    assert signed.status == 0, signed.said
    assert f"signed {honest} with its baseline: {honest}.sig" in signed.said
    again = command("screen", honest, "--baseline", honest, "--key", key)
    assert again.status == 0
    with np.load(honest) as arrays:
        np.savez(tmp_path / "darker.npz", x=arrays["x"] * 0.6, y=arrays["y"])
    moved = command("screen", tmp_path / "darker.npz", "--baseline", honest, "--key", key)
    assert moved.status == 1
    assert "high baseline-shift" in moved.out
    honest.write_bytes(honest.read_bytes() + b"x")
    changed = command("screen", tmp_path / "darker.npz", "--baseline", honest, "--key", key)
    assert changed.status == 1
    assert "honest.npz" in changed.said


def test_data_with_a_trigger_is_not_signed_and_the_trigger_is_drawn(
    command: Command, poisoned: Path, tmp_path: Path
) -> None:
    command("keygen", "--type", "p256", "--out", tmp_path / "k.pem")
    outcome = command("screen", poisoned, "--sign", tmp_path / "k.pem", "--pictures", tmp_path)
    assert outcome.status == 1
    assert "was not signed" in outcome.said
    assert not poisoned.with_name(poisoned.name + ".sig").exists()
    assert (tmp_path / "trigger-7.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_of_text_is_not_taken_for_a_pickle(command: Command, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2\n3,4\n")
    told = command("screen", tmp_path / "d.csv")
    assert told.status == 2
    assert "savez" in told.said
    assert "allow_pickle" not in told.said


def test_arrays_under_other_names_are_named(command: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.ones((3, 2)), labels=np.arange(3))
    told = command("screen", tmp_path / "d.npz")
    assert told.status == 2
    assert "'images', 'labels'" in told.said
