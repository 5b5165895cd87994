from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import hash_dataset, training_run
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign

DATA = hash_dataset(np.arange(4), name="raw")


@pytest.fixture
def signer() -> Signer:
    return Signer.generate()


@pytest.fixture
def models(tmp_path: Path, signer: Signer) -> Path:
    """A teacher made from the data, and a student made from the teacher."""
    made: list[Any] = [DATA]
    for name in ("teacher", "student"):
        model = tmp_path / "models" / name
        model.mkdir(parents=True)
        (model / "w.bin").write_text(name)
        with training_run(f"train {name}", datasets=[made[-1]], code=tmp_path) as run:
            made.append(run.add_output(model))
        sign(model, signer, statements=[run.statement()])
    return tmp_path / "models"


def root_of(command: Any, path: Path) -> str:
    root: str = json.loads(command("hash", path, "--format", "json").out)["root"]
    return root


def test_what_was_made_from_data_is_listed(command: Any, models: Path) -> None:
    done = command("lineage", models, "--from", DATA.root)
    assert done.status == 0
    assert [line.split()[-1] for line in done.out.splitlines()[:2]] == ["teacher", "student"]
    assert "2 runs in 2 files, signatures NOT checked" in done.out


def test_what_a_model_was_made_from_is_json(
    command: Any, models: Path, tmp_path: Path, signer: Signer
) -> None:
    public = tmp_path / "key.pub.pem"
    public.write_text(signer.public_key.pem)
    student = root_of(command, models / "student")
    done = command("lineage", models, "--to", student, "--key", public, "--format", "json")
    value = json.loads(done.out)
    assert (value["schema"], value["verified"], value["unread"]) == (
        "mlsecops.lineage/1",
        True,
        [],
    )
    assert [node["name"] for node in value["nodes"]] == ["teacher", "raw"]
    assert {run["name"] for run in value["runs"]} == {"train teacher", "train student"}


def test_a_registry_is_a_store_too(
    command: Any, models: Path, tmp_path: Path, signer: Signer
) -> None:
    registry = Registry(
        tmp_path / "reg", signer=signer, policy=TrustPolicy(keys=[signer.public_key])
    )
    registry.publish("student", models / "student")
    done = command("lineage", tmp_path / "reg", "--from", DATA.root)
    assert done.status == 1  # the teacher's own run is in no bundle of the registry
    teacher = root_of(command, models / "teacher")
    done = command("lineage", tmp_path / "reg", "--from", teacher)
    assert (done.status, done.out.split()[2]) == (0, "student")


def test_bundles_of_others_are_left_out_and_named(
    command: Any, models: Path, tmp_path: Path
) -> None:
    public = tmp_path / "other.pub.pem"
    public.write_text(Signer.generate().public_key.pem)
    done = command("lineage", models, "--from", DATA.root, "--key", public)
    assert done.status == 1
    assert done.out.count("unread") == 2
    assert "no run names" in done.out


def test_runs_are_openlineage_events(command: Any, models: Path) -> None:
    done = command("lineage", models, "--from", DATA.root, "--format", "openlineage")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 2


@pytest.mark.parametrize("words", [[], ["--from", "beef"], ["--from", "x", "--to", "y"]])
def test_a_question_without_one_digest_is_wrong_use(
    command: Any, models: Path, words: list[str]
) -> None:
    assert command("lineage", models, *words).status == 2
