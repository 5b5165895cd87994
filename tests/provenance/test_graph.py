from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import errors, hash_dataset, training_run
from mlsecops.provenance import Digest, Lineage, Manifest, Statement, hash_path
from mlsecops.provenance.graph import read_statements
from mlsecops.provenance.openlineage import openlineage_events
from mlsecops.signing import Signer, sign


def made(path: Path, *datasets: Manifest, name: str = "fit") -> Statement:
    path.write_text(path.name)
    with training_run(name, datasets=datasets, code=path.parent) as run:
        run.add_output(path)
    return run.statement()


@pytest.fixture
def raw() -> Manifest:
    return hash_dataset(np.arange(4), name="raw")


@pytest.fixture
def other() -> Manifest:
    return hash_dataset(np.arange(5), name="other")


@pytest.fixture
def lineage(tmp_path: Path, raw: Manifest, other: Manifest) -> Lineage:
    """Raw data is cleaned, a teacher is trained on it, a student on what the teacher labelled."""
    clean = made(tmp_path / "clean", raw, name="clean")
    cleaned = hash_path(tmp_path / "clean")
    teacher = made(tmp_path / "teacher", cleaned, name="teach")
    student = made(tmp_path / "student", hash_path(tmp_path / "teacher"), other, name="distill")
    return Lineage.of([student, teacher, clean])


def names(nodes: tuple[Any, ...]) -> set[str]:
    return {node.name for node in nodes}


def test_everything_that_came_from_a_data_set_is_found_over_many_runs(
    lineage: Lineage, raw: Manifest, other: Manifest
) -> None:
    assert names(lineage.models_from(raw.root)) == {"clean", "teacher", "student"}
    assert names(lineage.models_from(other.root)) == {"student"}


def test_all_data_that_made_a_model_is_found_over_many_runs(
    lineage: Lineage, tmp_path: Path
) -> None:
    student = hash_path(tmp_path / "student").root
    assert names(lineage.sources_of(student)) == {"teacher", "other", "clean", "raw"}
    assert {node.kind for node in lineage.datasets_of(student)} == {"dataset"}
    assert [step.name for step in lineage.runs_of(student)] == ["distill"]


def test_what_nobody_told_of_has_no_lineage(lineage: Lineage) -> None:
    unknown = Digest.of(b"unknown")
    assert lineage.models_from(unknown) == lineage.sources_of(unknown) == ()


def test_a_circle_of_claims_ends(tmp_path: Path) -> None:
    first = Manifest.from_sha256sums(f"{'a' * 64}  x\n", name="first")
    (tmp_path / "second").write_text("second")
    second = hash_path(tmp_path / "second")
    forged = Statement.build(
        subjects={"first": first.root},
        predicate_type="https://slsa.dev/provenance/v1",
        predicate={
            "buildDefinition": {
                "resolvedDependencies": [{"name": "second", "digest": {"sha256": second.root.hex}}]
            }
        },
    )
    graph = Lineage.of([made(tmp_path / "second", first), forged])
    assert names(graph.models_from(first.root)) == {"second"}
    assert names(graph.sources_of(second.root)) == {"first"}


def test_a_forged_statement_with_the_id_of_a_run_does_not_hide_it(
    lineage: Lineage, raw: Manifest
) -> None:
    [clean] = [step for step in lineage.steps if step.name == "clean"]
    value = clean.statement.to_dict()
    value["predicate"]["buildDefinition"]["resolvedDependencies"] = []
    forged = Statement(json.dumps(value).encode())
    steps = [step.statement for step in lineage.steps]
    assert names(Lineage.of([forged, *steps]).models_from(raw.root)) == {
        "clean",
        "teacher",
        "student",
    }


def test_packages_are_no_data(lineage: Lineage, tmp_path: Path) -> None:
    kinds = {node.kind for node in lineage.sources_of(hash_path(tmp_path / "clean").root)}
    assert kinds == {"dataset"}


def test_runs_inside_a_run_are_found_at_any_depth(tmp_path: Path, raw: Manifest) -> None:
    statements = []
    with training_run("outer", code=tmp_path) as outer:
        with training_run("middle", code=tmp_path) as middle:
            statements.append(made(tmp_path / "inner", raw, name="inner"))
            middle.add_output(tmp_path / "inner")
        statements.append(middle.statement())
    graph = Lineage.of(statements)
    assert {step.name for step in graph.inside(outer.id)} == {"middle", "inner"}
    assert {step.name for step in graph.inside(middle.id)} == {"inner"}


def test_statements_are_read_from_bundles_envelopes_and_bare_files(
    tmp_path: Path, raw: Manifest
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "w").write_text("w")
    with training_run("fit", datasets=[raw], code=tmp_path) as run:
        run.add_output(model)
    statement = run.statement()
    sign(model, Signer.generate("p256"), statements=[statement])
    (tmp_path / "bare.json").write_bytes(statement.payload)
    envelope = {"payload": base64.b64encode(statement.payload).decode(), "signatures": []}
    (tmp_path / "dsse.json").write_text(json.dumps(envelope))
    for name in ("model/model.sig", "bare.json", "dsse.json"):
        assert statement in read_statements(tmp_path / name)
        assert names(Lineage.load(tmp_path / name).models_from(raw.root)) == {"model"}


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"payload":1}', b'{"payload":"?"}', b'{"payload":"e30="}']
)
def test_nonsense_holds_no_statement(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(errors.MalformedBundle):
        read_statements(tmp_path / "f")


@pytest.mark.parametrize(
    "predicate",
    [
        {"buildDefinition": []},
        {"buildDefinition": {"resolvedDependencies": {}}, "runDetails": 1},
        {"buildDefinition": {"resolvedDependencies": [1, {"digest": []}], "externalParameters": 1}},
    ],
)
def test_provenance_of_another_shape_has_no_inputs(predicate: dict[str, Any]) -> None:
    statement = Statement.build(
        subjects={"m": Digest.of(b"m")},
        predicate_type="https://slsa.dev/provenance/v1",
        predicate=predicate,
    )
    assert Lineage.of([statement]).steps[0].inputs == ()
    assert len(openlineage_events(Lineage.of([statement]).steps, namespace="n")) == 1


def test_a_dependency_with_a_digest_that_is_none_is_refused() -> None:
    dependency = {"name": "d", "digest": {"sha256": "xyz"}}
    statement = Statement.build(
        subjects={"m": Digest.of(b"m")},
        predicate_type="https://slsa.dev/provenance/v1",
        predicate={"buildDefinition": {"resolvedDependencies": [dependency]}},
    )
    with pytest.raises(errors.MalformedBundle, match="dependency"):
        Lineage.of([statement])


def test_openlineage_events_tell_runs_inputs_and_outputs(lineage: Lineage, other: Manifest) -> None:
    events = openlineage_events(lineage.steps, namespace="ns")
    [event] = [event for event in events if event["job"]["name"] == "distill"]
    assert event["eventType"] == "COMPLETE"
    assert {item["name"] for item in event["inputs"]} == {"teacher", "other"}
    [output] = event["outputs"]
    assert output["name"] == "student"
    versions = [item["facets"]["version"]["datasetVersion"] for item in event["inputs"]]
    assert str(other.root) in versions
