from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import Parse
from in_toto_attestation.v1.statement_pb2 import Statement as OfficialStatement

from mlsecops import errors, hash_dataset, tracked, training_run
from mlsecops.provenance import Digest, Statement, TrainingRun, current_run, hash_path

DATA = hash_dataset(np.arange(5), name="numbers")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    monkeypatch.chdir(root)
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    (root / "train.py").write_text("print()\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    return root


def dependencies(statement: Statement) -> list[dict]:
    return statement.predicate["buildDefinition"]["resolvedDependencies"]


def code_of(run: TrainingRun) -> dict:
    return next(item for item in dependencies(run.statement()) if item.get("name") == "code")


def finished_run(model: Path, **options: Any) -> TrainingRun:
    with training_run("fit", datasets=[DATA], **options) as run:
        run.add_output(model)
    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "w.bin").write_bytes(b"w")
    return path


def test_the_statement_joins_data_parameters_and_model(model: Path) -> None:
    statement = finished_run(
        model, hyperparameters={"lr": np.float32(0.5), "out": model}
    ).statement()
    assert statement.subjects == {"model": hash_path(model).root}
    [data] = [item for item in dependencies(statement) if item.get("name") == "numbers"]
    assert data["digest"] == {"sha256": DATA.root.hex}
    parameters = statement.predicate["buildDefinition"]["externalParameters"]["hyperparameters"]
    assert parameters == {"lr": 0.5, "out": str(model)}


def test_the_official_parser_reads_the_statement(model: Path) -> None:
    statement = finished_run(model).statement()
    parsed = Parse(statement.payload, OfficialStatement())
    assert parsed.subject[0].digest["sha256"] == hash_path(model).root.hex
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"


def test_a_clean_tree_and_a_dirty_one_are_told_apart(repository: Path, model: Path) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    clean = code_of(finished_run(model))
    assert (clean["digest"], clean["annotations"]["dirty"]) == ({"gitCommit": commit}, False)
    (repository / "train.py").write_text("print('changed')\n")
    assert code_of(finished_run(model))["annotations"]["dirty"] is True


def test_code_outside_version_control_counts_as_dirty(model: Path, tmp_path: Path) -> None:
    assert code_of(finished_run(model, code=tmp_path))["annotations"]["dirty"] is True


def test_a_password_in_the_remote_is_not_recorded(repository: Path, model: Path) -> None:
    remote = "https://user:hunter2@example.org/team/repo.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=repository, check=True)
    run = finished_run(model)
    assert b"hunter2" not in run.statement().payload
    assert code_of(run)["uri"].startswith("git+https://example.org/team/repo.git@")


def test_only_allowed_variables_are_recorded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    payload = finished_run(model).statement().payload
    assert b"hunter2" not in payload
    assert b'"OMP_NUM_THREADS":"3"' in payload


def test_a_failure_is_recorded_without_its_text(model: Path) -> None:
    def fail() -> None:
        raise RuntimeError("patient 42")

    with pytest.raises(RuntimeError), training_run("fit") as run:  # noqa: PT012 - the run's end
        run.add_output(model)
        fail()
    assert (run.state.value, run.failure) == ("failed", "RuntimeError")
    assert b"patient 42" not in run.statement().payload


def test_nested_runs_name_their_parent(model: Path) -> None:
    with training_run("outer") as outer, training_run("inner") as inner:
        inner.add_output(model)
    parameters = inner.statement().predicate["buildDefinition"]["internalParameters"]
    assert parameters["parentRun"] == outer.id
    assert current_run() is None


def test_a_tracked_function_records_its_plain_arguments() -> None:
    runs = []

    @tracked("fit", datasets=[DATA])
    def fit(x: np.ndarray, *, lr: float = 0.1) -> float:
        runs.append(current_run())
        return float(x.sum()) * lr

    assert fit(np.ones(4), lr=0.5) == 2.0
    assert runs[0].hyperparameters == {"lr": 0.5}
    assert runs[0].state.value == "succeeded"


def test_a_tracked_coroutine_is_a_run_until_it_ends() -> None:
    runs: list[TrainingRun | None] = []

    @tracked("fit", datasets=[DATA])
    async def fit(*, lr: float) -> float:
        runs.append(current_run())
        await asyncio.sleep(0)
        runs.append(current_run())
        return lr

    async def both() -> list[float]:
        return await asyncio.gather(fit(lr=0.5), fit(lr=0.25))

    assert asyncio.run(both()) == [0.5, 0.25]
    assert runs[0] is runs[2] is not runs[1] is runs[3]
    assert {run.state.value for run in runs if run} == {"succeeded"}
    assert [run.hyperparameters for run in runs[:2] if run] == [{"lr": 0.5}, {"lr": 0.25}]


def test_a_coroutine_that_fails_is_a_failed_run() -> None:
    runs: list[TrainingRun | None] = []

    @tracked("fit")
    async def fit() -> None:
        runs.append(current_run())
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        asyncio.run(fit())
    assert runs[0] is not None
    assert (runs[0].state.value, runs[0].failure) == ("failed", "RuntimeError")


def test_a_generator_cannot_be_tracked() -> None:
    with pytest.raises(errors.UsageError, match="a generator"):

        @tracked("fit")
        def fit() -> Iterator[int]:
            yield 1


def test_seeds_and_devices_of_imported_frameworks_are_recorded(model: Path) -> None:
    import torch  # noqa: PLC0415 - imported here, so that there is something to record

    torch.manual_seed(1234)
    statement = finished_run(model).statement()
    facts = statement.predicate["buildDefinition"]["internalParameters"]
    assert facts["seeds"]["torch"] == "1234"
    assert facts["devices"]["torch"].startswith(("cpu", "cuda"))
    assert facts["frameworks"]["torch"] == torch.__version__


def test_a_framework_that_fails_to_answer_does_not_fail_the_run(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415 - as above

    monkeypatch.setattr(torch, "initial_seed", lambda: 1 / 0)
    facts = finished_run(model).statement().predicate["buildDefinition"]["internalParameters"]
    assert "torch" not in facts["seeds"]


def test_a_statement_without_output_is_refused() -> None:
    with training_run("fit") as run:
        pass
    with pytest.raises(errors.UsageError, match="add_output"):
        run.statement()


def test_a_hyperparameter_that_is_not_plain_is_refused() -> None:
    with (
        pytest.raises(errors.UsageError, match="'optimizer'"),
        training_run("fit", hyperparameters={"optimizer": object()}),
    ):
        pass


def looped() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"missing": float("nan")}, "'missing' is nan: expected a finite number"),
        ({"norm": -np.inf}, "'norm' is -inf"),
        ({"missing": np.float32("nan")}, "'missing' is nan"),
        ({"missing": np.array([np.nan])}, "'missing' is nan"),
        ({"optimizer": {"betas": [0.9, np.inf]}}, r"'optimizer.betas\[1\]' is inf"),
        ({"weights": {float("nan"): 1}}, "'weights' is nan"),
        ({"name": "\ud800"}, "'name': expected valid Unicode"),
        ({"\ud800": 1}, "lone surrogate"),
        (
            {"out": Path(b"\xff".decode("utf-8", "surrogateescape"))},
            "'out': expected valid Unicode",
        ),
        ({"key": b"bytes"}, "'key' is a bytes"),
        ({1: 0.5}, "expected names that are text, got 1"),
        ({"weights": {1: 0.5, "1": 0.7}}, "'weights': expected names that are text or numbers"),
        ({"weights": {(1, 2): 0.5}}, "'weights': expected names"),
        ({"when": np.datetime64("2026-01-01")}, "'when' is a date"),
        ({"wide": np.longdouble(1)}, "'wide' is a"),
        ({"huge": 10**5000}, "'huge'"),
        ({"loop": looped()}, "'loop' is nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_parameter_that_json_cannot_hold_is_refused_before_the_training(
    parameters: Any, said: str
) -> None:
    with (
        pytest.raises(errors.UsageError, match=said),
        training_run("fit", hyperparameters=parameters),
    ):
        pytest.fail("the training began")


def test_a_tracked_call_with_such_an_argument_does_not_begin() -> None:
    @tracked("fit")
    def fit(missing: float) -> None:
        pytest.fail(f"the training began with {missing}")

    with pytest.raises(errors.UsageError, match="'missing' is nan"):
        fit(float("nan"))


def test_names_of_classes_and_numbers_of_numpy_are_recorded_as_json(model: Path) -> None:
    given = {"class_weight": {0: 1.0, np.int64(1): np.float64(2.0), None: True}, "t": (1, "a")}
    recorded = finished_run(model, hyperparameters=given).hyperparameters
    assert recorded == {"class_weight": {"0": 1.0, "1": 2.0, "None": True}, "t": [1, "a"]}


@pytest.mark.parametrize("inside", [True, False])
def test_each_descriptor_has_a_uri_a_digest_or_content(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, inside: bool
) -> None:
    script = tmp_path / "train.py"
    script.write_text("print()")
    main = type("Main", (), {"__file__": str(script if inside else model / "w.bin")})
    monkeypatch.setitem(sys.modules, "__main__", main)  # type: ignore[arg-type]
    run = finished_run(model, code=tmp_path if inside else tmp_path / "elsewhere")
    predicate = run.statement().predicate
    every = [*dependencies(run.statement()), *predicate["runDetails"]["byproducts"]]
    assert all(item.keys() & {"uri", "digest", "content"} for item in every)
    if inside:
        assert code_of(run)["digest"] == {"sha256": Digest.of(b"print()").hex}
    [outcome] = predicate["runDetails"]["byproducts"]
    assert json.loads(base64.b64decode(outcome["content"])) == {
        "state": "succeeded",
        "failure": None,
    }


def test_a_single_file_is_named_by_its_own_digest_too(model: Path) -> None:
    with training_run("fit") as run:
        run.add_output(model / "w.bin")
        run.add_output(model)
    assert run.statement().subjects == {
        "w.bin": hash_path(model / "w.bin").root,
        "model": hash_path(model).root,
        "w.bin#file": Digest.of(b"w"),
    }


@pytest.mark.parametrize("data", [np.arange(3), {"x": np.arange(3)}], ids=["array", "table"])
def test_data_itself_is_refused_with_the_way_to_name_it(data: Any) -> None:
    for make in (training_run, tracked):
        with pytest.raises(errors.UsageError, match=r"datasets=\[hash_dataset\(data, name=…\)\]"):
            make("fit", datasets=[data])


def statement_with(**changed: object) -> bytes:
    """A statement that is well formed but for what is changed; None leaves a key out."""
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64}}],
        "predicateType": "p",
        "predicate": {},
        **changed,
    }
    return json.dumps({key: each for key, each in value.items() if each is not None}).encode()


def test_the_statement_of_the_tests_is_well_formed() -> None:
    assert Statement(statement_with()).subjects["a"].hex == "0" * 64


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"_type":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[]}',
        (
            b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"p",'
            b'"subject":[{"name":"a","digest":{"sha256":"ab"}}]}'
        ),
        b'{"_type":"https://in-toto.io/Statement/v1","_type":"y"}',
        statement_with(_type="https://in-toto.io/Statement/v0.1"),
        statement_with(predicateType=None),
        statement_with(predicateType=["p"]),
        statement_with(predicate=[]),
        statement_with(predicate="p"),
        statement_with(subject={}),
        statement_with(subject=["a"]),
        statement_with(subject=[{"name": "a"}]),
        statement_with(subject=[{"name": "a", "digest": ["sha256"]}]),
        statement_with(subject=[{"name": "a", "digest": {}}]),
        statement_with(subject=[{"name": "a", "digest": {"md5": "0" * 32}}]),
        statement_with(subject=[{"name": 7, "digest": {"sha256": "0" * 64}}]),
        statement_with(subject=[{"name": "a", "digest": {"sha256": 7}}]),
        statement_with(subject=[{"name": "a", "digest": {"sha256": each * 64}} for each in "01"]),
        b'{"a":NaN}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_not_a_statement(payload: bytes) -> None:
    with pytest.raises(errors.MalformedBundle):
        Statement(payload)


def test_a_statement_keeps_the_very_bytes_it_was_read_from() -> None:
    built = Statement.build(
        subjects={"m": Digest.of(b"x")}, predicate_type="urn:p", predicate={"b": 1, "a": 2}
    )
    spaced = built.payload.replace(b":", b": ")
    spaced = spaced.replace(b"https: ", b"https:").replace(b"urn: ", b"urn:")
    assert Statement(spaced).payload == spaced


@pytest.mark.parametrize(
    "datasets", ["data", "/", b"data", Path("data"), {"train": "data"}, 3, [3]]
)
def test_datasets_that_are_no_list_are_refused_before_anything_is_hashed(datasets: Any) -> None:
    for make in (training_run, tracked):
        with pytest.raises(errors.UsageError, match="datasets: expected a list of"):
            make("t", datasets=datasets)


@pytest.mark.parametrize("predicate", [{"rate": float("nan")}, {"model": object()}, {"a": {1, 2}}])
def test_a_claim_that_json_cannot_hold_makes_no_statement(predicate: dict[str, Any]) -> None:
    subjects = {"a": Digest.of(b"")}
    with pytest.raises(errors.UsageError, match="expected values for JSON"):
        Statement.build(subjects=subjects, predicate_type="p", predicate=predicate)
    with pytest.raises(errors.UsageError, match="subjects: expected at least one"):
        Statement.build(subjects={}, predicate_type="p", predicate={})


def test_a_second_output_of_one_name_is_refused(tmp_path: Path) -> None:
    """A statement has one digest for a name: one of the two would be left out."""
    with training_run("fit") as run:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "w.bin").write_text(folder)
        first = run.add_output(tmp_path / "one" / "w.bin")
        with pytest.raises(errors.UsageError, match=r"an output named 'w\.bin' already"):
            run.add_output(tmp_path / "two" / "w.bin")
    assert run.statement().subjects["w.bin"] == first.root
