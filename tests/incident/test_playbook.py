from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlsecops.errors import GateFailed, IncidentError, Isolated, UsageError
from mlsecops.findings import Alert, Finding, Severity
from mlsecops.incident import Incident, Playbook, PlaybookStep
from mlsecops.provenance import Digest
from mlsecops.registry import Registry, Version
from tests.incident.conftest import AT, alert_about


def agree(_step: PlaybookStep) -> bool:
    return True


def states(incident: Incident) -> dict[str, str]:
    return {step.name: step.state for step in incident.steps}


def complete_playbook() -> Playbook:
    return Playbook.default(remediate=lambda _incident: None, validate=lambda _incident, _v: None)


def test_the_same_alert_has_the_same_incident(alert: Alert, registry: Registry) -> None:
    first, second = (Incident.open(alert, registry=registry, clock=lambda: AT) for _ in range(2))
    assert first.id == second.id
    assert first.events() == second.events()
    other = Incident.open(alert_about(alert.digest, rule="drift"), registry=registry)
    assert other.id != first.id


def test_an_alert_runs_to_an_isolated_digest_and_an_older_version(
    incident: Incident, registry: Registry, alert: Alert
) -> None:
    Playbook.default().run(incident)
    assert states(incident) == {
        "isolate": "done",
        "assess": "done",
        "rollback": "done",
        "forensics": "done",
        "remediate": "manual",
        "validate": "manual",
        "close": "pending",
    }
    assert incident.state == "contained"
    assert registry.isolated(Digest.parse(str(alert.digest))) is not None
    assert registry.resolve("fraud", "serving").version == 1
    with pytest.raises(Isolated):
        registry.resolve("fraud", 2)


def test_a_finished_run_is_closed_and_running_again_changes_nothing(
    incident: Incident, registry: Registry
) -> None:
    complete_playbook().run(incident, approve=agree)
    assert incident.state == "closed"
    before = (incident.events(), registry.verify_log(), incident.evidence.path.read_bytes())
    complete_playbook().run(incident, approve=agree)
    Playbook.default().run(incident)
    assert (incident.events(), registry.verify_log()) == before[:2]
    assert incident.evidence.path.read_bytes() == before[2]


def test_an_unfinished_run_repeated_changes_nothing(incident: Incident, registry: Registry) -> None:
    Playbook.default().run(incident)
    before = (incident.events(), registry.verify_log())
    Playbook.default().run(incident)
    assert (incident.events(), registry.verify_log()) == before


def test_a_dry_run_changes_nothing(incident: Incident, registry: Registry) -> None:
    before = _bytes(registry.location)
    forecast = Playbook.default().run(incident, dry_run=True, approve=agree)
    assert _bytes(registry.location) == before
    assert [step.state for step in forecast] == ["pending"] * 7
    assert registry.resolve("fraud", "serving").version == 2


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(place.relative_to(folder)): place.read_bytes()
        for place in folder.rglob("*")
        if place.is_file()
    }


def test_a_refused_rollback_waits(incident: Incident, registry: Registry) -> None:
    asked: list[str] = []
    Playbook.default().run(incident, approve=lambda step: bool(asked.append(step.name)))
    assert asked == ["rollback"]
    assert (incident.state, states(incident)["rollback"]) == ("waiting", "waiting")
    assert states(incident)["remediate"] == "pending"
    assert registry.serves(registry.versions("fraud")[1])
    Playbook.default().run(incident, approve=agree)
    assert registry.resolve("fraud", "serving").version == 1


def test_a_required_approval_waits_when_there_is_nobody_to_ask(
    incident: Incident, registry: Registry
) -> None:
    Playbook.default(approvals={"rollback": "required"}).run(incident)
    assert states(incident)["rollback"] == "waiting"
    assert registry.serves(registry.versions("fraud")[1])


def test_closing_waits_for_people(incident: Incident) -> None:
    complete_playbook().run(incident)
    assert (incident.state, states(incident)["close"]) == ("waiting", "waiting")


def test_manual_steps_are_completed_by_people(incident: Incident) -> None:
    Playbook.default().run(incident, approve=agree)
    with pytest.raises(IncidentError, match="manual"):
        incident.complete("close", by="alice", note="done")
    for by, note in (("", "done"), ("alice", ""), (" ", "done"), ("alice", "\n")):
        with pytest.raises(IncidentError, match="a person and a note"):
            incident.complete("remediate", by=by, note=note)
    with pytest.raises(IncidentError, match="expected a step of isolate, assess"):
        incident.complete("remediation", by="alice", note="done")
    for name in ("remediate", "validate"):
        incident.complete(name, by="alice", note="client blocked")
    Playbook.default().run(incident, approve=agree)
    assert incident.state == "closed"
    assert incident.step("remediate").note == "alice: client blocked"


class _Judgement:
    def __init__(self, verdict: object) -> None:
        self.verdict = verdict


def _gate_fails(_incident: Incident, _version: Version | None) -> object:
    raise GateFailed("fgsm: 0.4 is below 0.7")


@pytest.mark.parametrize(
    "judge",
    [
        _gate_fails,
        lambda _i, _v: _Judgement("inconclusive"),
        lambda _i, _v: _Judgement("fail"),
        lambda _i, _v: False,
        lambda _i, _v: np.float32(0.4) > 0.7,
        lambda _i, _v: np.array([True, False]),
        lambda _i, _v: _Judgement(np.bool_(0)),
        lambda _i, _v: "fail",
        lambda _i, _v: 1 / 0,
    ],
)
def test_a_failed_validation_does_not_close(
    incident: Incident, judge: Callable[[Incident, Version | None], object]
) -> None:
    playbook = Playbook.default(remediate=lambda _incident: None, validate=judge)
    playbook.run(incident, approve=agree)
    assert (incident.state, states(incident)["validate"]) == ("failed", "failed")
    assert states(incident)["close"] == "pending"
    complete_playbook().run(incident, approve=agree)
    assert incident.state == "closed"


def _fails_at_length(_incident: Incident) -> object:
    raise ValueError("x" * 600)


@pytest.mark.parametrize(
    ("outcome", "note"),
    [
        (None, ""),
        ("pass", "pass"),
        (3, "3"),
        ([1] * 600, str([1] * 600)[:500]),
        ("x" * 600, f"the verdict is {'x' * 485}"),
    ],
)
def test_what_a_function_gave_is_the_note_of_its_step(
    incident: Incident, outcome: object, note: str
) -> None:
    Playbook.default(validate=lambda _incident, _version: outcome).run(incident)
    assert incident.step("validate").note == note
    Playbook.default(remediate=_fails_at_length).run(incident, approve=agree)
    assert incident.step("remediate").note == f"ValueError: {'x' * 488}"


def test_validation_gets_the_version_that_serves_now(incident: Incident) -> None:
    seen: list[Version | None] = []
    playbook = Playbook.default(validate=lambda _incident, version: seen.append(version))
    playbook.run(incident)
    assert [version.version if version else None for version in seen] == [1]
    assert seen[0] is not None
    assert seen[0].path is not None


def test_without_an_older_version_rollback_is_left_to_people(
    incident: Incident, registry: Registry
) -> None:
    registry.quarantine(registry.versions("fraud")[0].digest, "licence")
    Playbook.default().run(incident)
    assert states(incident)["rollback"] == "manual"
    assert "licence" in incident.step("rollback").note
    assert incident.state == "contained"


def test_an_alert_without_a_digest_is_left_to_people(registry: Registry) -> None:
    incident = Incident.open(alert_about(None), registry=registry, clock=lambda: AT)
    Playbook.default().run(incident)
    assert states(incident)["isolate"] == "manual"
    assert registry.resolve("fraud", "serving").version == 2


def test_a_run_without_its_lock_is_an_error_of_the_library(
    incident: Incident, registry: Registry
) -> None:
    (incident.folder / "lock").mkdir()
    with pytest.raises(IncidentError, match="lock: cannot be opened"):
        Playbook.default().run(incident)
    assert registry.resolve("fraud", "serving").version == 2


@pytest.mark.parametrize("snapshot", [[1, 2], "calls: 7", 7])
def test_a_snapshot_that_is_no_mapping_is_refused_before_anything_is_recorded(
    alert: Alert, registry: Registry, snapshot: object
) -> None:
    with pytest.raises(UsageError, match="snapshot: expected a mapping"):
        Incident.open(alert, registry=registry, snapshot=snapshot)
    assert not registry.recorded("incident.")


def test_a_finding_opens_an_incident_about_a_digest(registry: Registry) -> None:
    finding = Finding(
        rule="label-noise", severity=Severity.HIGH, message="m", where="row 3", artifact="data.csv"
    )
    digest = registry.versions("fraud")[1].digest
    incident = Incident.open(finding, registry=registry, digest=digest, clock=lambda: AT)
    Playbook.default().run(incident)
    assert registry.resolve("fraud", "serving").version == 1
    assert "screen_dataset" in incident.step("remediate").note


def test_the_blast_radius_follows_the_data(incident: Incident, tmp_path: Path) -> None:
    from mlsecops.provenance import hash_path  # noqa: PLC0415 - only this test hashes data

    Playbook.default().run(incident)
    result = incident.step("assess").result
    assert result is not None
    root = hash_path(tmp_path / "data.csv").root
    assert result["datasets"] == {str(root): "data.csv"}
    assert (result["versions"], result["related"]) == (["fraud 2"], ["fraud 1"])


def test_a_poisoned_data_set_names_the_models_that_came_from_it(
    registry: Registry, tmp_path: Path
) -> None:
    from mlsecops.provenance import hash_path  # noqa: PLC0415 - only this test hashes data

    data = str(hash_path(tmp_path / "data.csv").root)
    incident = Incident.open(alert_about(data, atlas="AML.T0020"), registry=registry)
    Playbook.default().run(incident)
    result = incident.step("assess").result
    assert result is not None
    assert result["related"] == ["fraud 1", "fraud 2"]


def test_a_reader_sees_the_incident_and_opens_none(incident: Incident, alert: Alert) -> None:
    Playbook.default().run(incident)
    reader = Registry(incident.registry.location, policy=incident.registry.policy)
    again = Incident.open(alert, registry=reader, clock=lambda: AT)
    assert again.to_dict() == incident.to_dict()


def test_kinds_differ_in_what_people_are_told() -> None:
    texts = {
        kind: Playbook.default(kind).to_markdown() for kind in ("poisoned-model", "extraction")
    }
    assert "screen_dataset" in texts["poisoned-model"]
    assert "query rate" in texts["extraction"]
    with pytest.raises(UsageError):
        Playbook.default("flood")  # type: ignore[arg-type] # the attack


def test_the_deliverable_names_its_steps() -> None:
    document = json.loads(json.dumps(Playbook.default("poisoned-model").to_dict()))
    assert [step["name"] for step in document["steps"]] == [
        "isolate",
        "assess",
        "rollback",
        "forensics",
        "remediate",
        "validate",
        "close",
    ]


def test_a_shared_playbook_brings_no_markup_into_the_markdown() -> None:
    steps = Playbook.default().steps
    hostile = dataclasses.replace(steps[0], title="<script>", instructions="a\n# b ![x](http://x)")
    text = Playbook(title="x\n<img src=x>", steps=(hostile, *steps[1:])).to_markdown()
    assert "<script" not in text
    assert "<img" not in text
    assert "![" not in text
    assert "\n# b" not in text
