"""States of controls: enforced is only what was compared with the model's digest."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import Gate, SecurePipeline, errors, sign, verify
from mlsecops.incident import Incident, Playbook
from mlsecops.monitoring import RateLimit, monitored
from mlsecops.pipeline import BOM_PREDICATE
from mlsecops.poisoning import PoisoningReport, Suspect
from mlsecops.provenance import Digest, Statement
from mlsecops.registry import Registry
from mlsecops.reports import ControlState
from mlsecops.robustness import RobustnessReport
from mlsecops.robustness.report import Check
from tests.pipeline.conftest import World, states

ENFORCED, ADVISORY = ControlState.ENFORCED, ControlState.ADVISORY


def test_what_the_signature_alone_proves(world: World) -> None:
    found = states(world)
    assert found.keys() == {"Signature", "Signature check", "Provenance"}
    assert {state for state, _ in found.values()} == {ENFORCED}
    assert found["Signature"][1] == "1 trusted signer"


def screened(rows: int) -> PoisoningReport:
    suspects = tuple(
        Suspect(index=row, kind="label-noise", score=1.0, label=0, evidence={})
        for row in range(rows)
    )
    return PoisoningReport(
        n=9, seed=0, suspects=suspects, findings=(), detectors=("label-noise",), skipped={}
    )


def test_reports_on_data_are_advice(world: World) -> None:
    assert "Data screening" not in states(world)
    found = states(world, screening=screened(2), activations=screened(1))
    assert found["Data screening"] == (ADVISORY, "2 rows to look at")
    assert found["Poisoning detection"] == (ADVISORY, "1 row to look at")


def checked(report: RobustnessReport) -> RobustnessReport:
    """The report as if its measurement had been tested; without that no gate passes."""
    return replace(report, checks=(Check(name="transfer", outcome="pass", reason="r"),))


@pytest.mark.parametrize("floor", [1.0, 0.0])
def test_a_gate_is_enforced_where_the_report_passes(world: World, floor: float) -> None:
    report = checked(world.models["a"].report)
    gate = Gate(min_accuracy=floor)
    assert "Robustness gate" not in states(world, robustness=report)
    assert "Robustness gate" not in states(world, gate=gate)
    state, where = states(world, robustness=report, gate=gate)["Robustness gate"]
    assert where == gate.judge(report).verdict
    assert (where == "pass") == (floor == 0.0)
    assert state is (ENFORCED if floor == 0.0 else ADVISORY)


def test_a_guard_is_enforced_and_a_detector_is_advice(world: World) -> None:
    @monitored("m", digest=str(world.models["a"].loaded.digest), guards=[RateLimit(5.0)])
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    controls, found = predict.monitor.controls, states(world, monitor=predict.monitor)
    predict.monitor.close()
    assert {"guard"} < {*controls.values()}
    for name, kind in controls.items():
        assert found[name] == (ENFORCED if kind == "guard" else ADVISORY, f"{kind} of m")


def test_a_campaign_is_advice_about_the_model_that_it_names(world: World) -> None:
    own = world.models["a"].campaign
    assert states(world, campaign=own)["Injection campaign"] == (ADVISORY, "0 attempts")
    nameless = replace(own, target_id="the staging endpoint")
    state, where = states(world, campaign=nameless)["Injection campaign"]
    assert (state, "names no model" in where) == (ADVISORY, True)


def test_a_bill_is_enforced_where_it_is_signed_with_the_model(world: World, tmp_path: Path) -> None:
    own = world.models["a"]
    assert "Bill of materials" not in states(world)
    assert states(world, bom=own.bom)["Bill of materials"][0] is ADVISORY
    folder = tmp_path / "model-a"
    shutil.copytree(own.folder, folder)
    bill = Statement.build(
        subjects={"model-a": own.loaded.digest}, predicate_type=BOM_PREDICATE, predicate=own.bom
    )
    kept = verify(folder, policy=world.policy).statements
    sign(folder, world.signer, statements=[*kept, bill], replace=True, name="model-a")
    pipeline = SecurePipeline(name="a", model=folder, policy=world.policy)
    found = pipeline.control_states(verify(folder, policy=world.policy))
    assert found["Bill of materials"] == (ENFORCED, "signed with the model")


@pytest.fixture
def registry(world: World, tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry", signer=world.signer, policy=world.policy)
    registry.publish("a", world.models["a"].folder)
    return registry


def test_a_registry_says_whether_it_holds_the_model(
    world: World, registry: Registry, tmp_path: Path
) -> None:
    other = Registry(tmp_path / "other", signer=world.signer, policy=world.policy)
    other.publish("b", world.models["b"].folder)
    size = registry.verify_log().size
    for name, text in (
        ("Registry log", f"{size} entries verified"),
        ("Verified rollback", "the registry verifies before it serves"),
    ):
        absent = f"{text}; it holds no version of this model"
        assert states(world, registry=registry)[name] == (ENFORCED, text)
        assert states(world, registry=other)[name] == (ADVISORY, absent)


def handled(registry: Registry, digest: Digest | None) -> Incident:
    incident = Incident.report("extraction", digest=digest, message="m", registry=registry)
    Playbook.default().run(incident)
    return incident


def test_evidence_is_enforced_where_the_incident_is_about_the_model(
    world: World, registry: Registry
) -> None:
    own, other = (world.models[each].loaded.digest for each in "ab")
    assert states(world, incident=handled(registry, own))["Evidence"][0] is ENFORCED
    state, where = states(world, incident=handled(registry, other))["Evidence"]
    assert (state, where) == (ADVISORY, f"sealed and verified, of {str(other)[:19]}")
    state, where = states(world, incident=handled(registry, None))["Evidence"]
    assert (state, where) == (ADVISORY, "sealed and verified, of no model's digest")


def test_evidence_that_was_changed_is_delivered_with_nothing(
    world: World, registry: Registry, tmp_path: Path
) -> None:
    incident = handled(registry, world.models["a"].loaded.digest)
    incident.evidence.path.chmod(0o600)
    incident.evidence.path.write_bytes(incident.evidence.path.read_bytes() + b"x")
    with pytest.raises(errors.EvidenceError):
        world.pipeline(incident=incident).deliver(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_page_shows_of_a_pass_depends_on_its_model(world: World) -> None:
    """A report that names no model may pass: the card warns."""
    report = checked(world.models["a"].report)
    parts: dict[str, Any] = {"robustness": report, "gate": Gate(min_accuracy=0.0)}

    def tones(**changed: Any) -> list[str]:
        pipeline = world.pipeline(**{**parts, **changed})
        verified = verify(world.models["a"].folder, policy=world.policy)
        return [tone for _, tone in pipeline._looks(verified)]

    assert tones()[2] == "good"
    assert tones(robustness=replace(report, model_digest=None))[2] == "warn"
    assert tones(gate=Gate(min_accuracy=1.0))[2] != "good"
    assert tones(gate=None)[2] == "warn"
    assert tones()[-1] == "warn"  # no bill is signed
    for gate, verdict in ((Gate(min_accuracy=0.0), "pass"), (None, "not judged")):
        pipeline = world.pipeline(robustness=report, gate=gate)
        page = pipeline._index(verify(world.models["a"].folder, policy=world.policy), ())
        shown = re.sub(r"<[^>]*>|\s+", " ", page)
        assert re.search(rf"(?i)gate\W+{verdict}", shown), shown[-1500:]


def test_the_page_compares_with_the_model_before(world: World) -> None:
    report = world.models["a"].report

    def page(**parts: Any) -> str:
        return dict(world.pipeline(robustness=report, **parts)._robustness())["robustness.html"]

    assert page() != page(before=report)
    assert page() != page(gate=Gate(min_accuracy=0.77))


def test_a_bill_that_is_built_holds_what_was_measured_and_the_data(world: World) -> None:
    own = world.models["a"]
    verified = verify(own.folder, policy=world.policy)
    plain = world.pipeline()._bom(verified)
    assert world.pipeline(robustness=own.report)._bom(verified) != plain
    assert world.pipeline(datasets={"data": own.data})._bom(verified) != plain
    assert world.pipeline(bom=own.bom)._bom(verified) is own.bom
