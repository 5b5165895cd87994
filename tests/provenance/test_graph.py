from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from mlsecops import errors, hash_dataset, training_run
from mlsecops.provenance import (
    Digest,
    Lineage,
    Manifest,
    Statement,
    TrainingRun,
    hash_path,
)
from mlsecops.provenance.graph import read_statements, statements_in
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


def test_a_file_without_end_holds_no_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Manifest
) -> None:
    payload = made(tmp_path / "m", raw).payload
    monkeypatch.setattr("mlsecops.provenance.graph.MAX_BUNDLE_BYTES", len(payload))
    (tmp_path / "f").write_bytes(payload)
    assert len(read_statements(tmp_path / "f")) == 1
    (tmp_path / "f").write_bytes(payload + b" ")
    with pytest.raises(errors.MalformedBundle, match=f"at most {len(payload)} bytes"):
        read_statements(tmp_path / "f")


@pytest.mark.parametrize("carried", [{}, "e30=", 7, None])
def test_statements_inside_that_are_no_list_are_refused(carried: object) -> None:
    """Left out, what they say of the data would be missing in silence."""
    outer = Statement.build(
        subjects={"m": Digest.of(b"")}, predicate_type="p", predicate={"statements": carried}
    )
    with pytest.raises(errors.MalformedBundle, match="expected statements to be a list"):
        statements_in(outer.payload, where="f")


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


def test_a_dependency_with_a_digest_that_is_none_is_refused() -> None:
    dependency = {"name": "d", "digest": {"sha256": "xyz"}}
    statement = Statement.build(
        subjects={"m": Digest.of(b"m")},
        predicate_type="https://slsa.dev/provenance/v1",
        predicate={"buildDefinition": {"resolvedDependencies": [dependency]}},
    )
    with pytest.raises(errors.MalformedBundle, match="dependency"):
        Lineage.of([statement])


SPEC = Path(__file__).with_name("openlineage_spec")


def require_valid(event: dict[str, Any]) -> None:
    """Demand that an event and its facets fit the published schemas."""
    schemas = [json.loads(path.read_text("utf-8")) for path in SPEC.glob("*.json")]
    registry: Any = Registry().with_resources(
        (schema["$id"], DRAFT202012.create_resource(schema)) for schema in schemas
    )
    uses = [(event["schemaURL"], event)]
    facets = [event["run"]["facets"], *(each["facets"] for each in event["inputs"])]
    for facet in (one for several in facets for one in several.values()):
        kind = Path(facet["_schemaURL"]).stem
        uses.append((f"{facet['_schemaURL']}#/$defs/{kind}", facet))
    for reference, value in uses:
        Draft202012Validator(
            {"$ref": reference},
            registry=registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        ).validate(value)


def test_openlineage_events_show_runs_inputs_and_outputs(lineage: Lineage, other: Manifest) -> None:
    events = openlineage_events(lineage.steps, namespace="ns")
    start, event = [event for event in events if event["job"]["name"] == "distill"]
    assert (start["eventType"], event["eventType"]) == ("START", "COMPLETE")
    assert start["run"] == event["run"]
    assert start["outputs"] == []
    assert {item["name"] for item in event["inputs"]} == {"teacher", "other"}
    [output] = event["outputs"]
    assert output["name"] == "student"
    versions = [item["facets"]["version"]["datasetVersion"] for item in event["inputs"]]
    assert str(other.root) in versions


def test_openlineage_events_fit_the_published_schema(tmp_path: Path, raw: Manifest) -> None:
    model = tmp_path / "model"
    model.write_text("m")

    def fail(run: TrainingRun) -> None:
        run.add_output(model)
        raise RuntimeError("diverged")

    with training_run("outer", code=tmp_path) as outer:
        outer.add_output(model)
        inner = made(tmp_path / "inner", raw, name="inner")
        with suppress(RuntimeError), training_run("failed", code=tmp_path) as failed:
            fail(failed)
    other_id = json.loads(inner.payload)
    other_id["predicate"]["runDetails"]["metadata"]["invocationId"] = "https://ci.example/run/7"
    statements = [outer.statement(), inner, failed.statement()]
    statements.append(Statement(json.dumps(other_id).encode()))
    events = openlineage_events(Lineage.of(statements).steps, namespace="ns")
    for event in events:
        require_valid(event)
    kinds = [event["eventType"] for event in events]
    assert sorted(kinds) == ["COMPLETE"] * 3 + ["FAIL"] + ["START"] * 4
    with pytest.raises(ValidationError):
        require_valid({**events[0], "eventTime": 7})


@pytest.mark.parametrize("said", ["", "yesterday", "2026-01-01T00:00:00"])
def test_a_run_without_a_time_makes_no_event(said: str, lineage: Lineage) -> None:
    step = replace(lineage.steps[0], started=said, at=said)
    with pytest.raises(errors.UsageError, match="run 'distill': expected startedOn"):
        openlineage_events([step], namespace="n")


def test_a_file_is_found_by_the_digest_of_its_bytes_too(
    lineage: Lineage, tmp_path: Path, raw: Manifest
) -> None:
    student = (tmp_path / "student").read_bytes()
    assert names(lineage.sources_of(Digest.of(student))) == {"teacher", "other", "clean", "raw"}
    assert lineage.holds(Digest.of(student))
    teacher = next(node for node in lineage.models_from(raw.root) if node.name == "teacher")
    assert teacher.file == Digest.of((tmp_path / "teacher").read_bytes())
    forged = Statement.build(
        subjects={"alone#file": Digest.of(b"a")},
        predicate_type="https://slsa.dev/provenance/v1",
        predicate={},
    )
    assert names(Lineage.of([forged]).steps[0].outputs) == {"alone#file"}
