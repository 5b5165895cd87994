"""Incidents of a registry that is no folder, seen and resumed on another machine."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlsecops.audit.objects.memory import MemoryStore
from mlsecops.errors import EvidenceError, IncidentError
from mlsecops.incident import Incident, Playbook
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.incident.conftest import AT, alert_about


def machine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str, signer: Signer
) -> Registry:
    """The registry as another machine opens it, which has folders of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
    policy = TrustPolicy(keys=[signer.public_key])
    return Registry(registry, signer=signer, policy=policy, cache=tmp_path / name / "cache")


def test_another_machine_resumes_an_incident_and_verifies_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    place = f"memory://incidents/{tmp_path.name}"
    first = machine("one", tmp_path, monkeypatch, place, signer)
    for number in (1, 2):
        folder = tmp_path / f"model-{number}"
        folder.mkdir()
        (folder / "weights.bin").write_bytes(bytes([number]))
        sign(folder, signer)
        version = first.publish("fraud", folder)
    first.promote("fraud", 2, "serving")
    alert = alert_about(str(version.digest))
    Playbook.default().run(Incident.open(alert, registry=first))

    second = machine("two", tmp_path, monkeypatch, place, signer)
    incident = Incident.open(alert, registry=second)
    assert not incident.evidence.path.exists()
    assert [step.name for step in incident.steps if step.state == "done"] == [
        "isolate", "assess", "rollback", "forensics",
    ]  # fmt: skip
    incident.evidence.verify()
    assert incident.evidence.path.is_relative_to(tmp_path / "two")
    assert stat.S_IMODE(incident.evidence.path.stat().st_mode) == 0o400
    for name in ("remediate", "validate"):
        incident.complete(name, by="ann", note="on the second machine")
    Playbook.default().run(incident, approve=lambda _: True)
    assert Incident.open(alert, registry=first).state == "closed"
    assert first.resolve("fraud", "serving").version == 1


def test_evidence_exchanged_on_one_machine_is_noticed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    registry = machine("one", tmp_path, monkeypatch, f"memory://other/{tmp_path.name}", signer)
    incident = Incident.report("extraction", message="m", registry=registry)
    with pytest.raises(EvidenceError, match="not sealed"):
        incident.evidence.fetch()
    Playbook.default().run(incident)
    path = incident.evidence.path
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(EvidenceError):
        incident.evidence.verify()


def test_evidence_that_the_registry_lost_or_that_has_no_room_here_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    place = f"memory://lost/{tmp_path.name}"
    first = machine("one", tmp_path, monkeypatch, place, signer)
    sealed = Incident.report("extraction", message="m", registry=first)
    Playbook.default().run(sealed)
    second = machine("two", tmp_path, monkeypatch, place, signer)
    incident = Incident.report("extraction", message="m", registry=second)
    (tmp_path / "blocked").write_text("no folder")
    blocked = machine("blocked", tmp_path, monkeypatch, place, signer)
    with pytest.raises(EvidenceError, match="cannot be fetched"):
        Incident(sealed.id, registry=blocked, clock=lambda: AT).evidence.fetch()
    digest = incident.evidence.sealed
    assert digest is not None
    objects = MemoryStore(place.removeprefix("memory://"))._objects
    [key] = [each for each in objects if digest.hex in each.replace("/", "")]
    objects[key] = objects[key][:-1] + b"x"
    with pytest.raises(EvidenceError, match="cannot be fetched"):
        incident.evidence.fetch()
    del objects[key]
    with pytest.raises(EvidenceError, match="cannot be fetched"):
        incident.evidence.verify()
    assert not incident.evidence.path.exists()


def test_an_incident_that_is_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer
) -> None:
    registry = machine("one", tmp_path, monkeypatch, f"memory://none/{tmp_path.name}", signer)
    reader = Registry(registry.location, policy=registry.policy)
    with pytest.raises(IncidentError, match="no such incident"):
        Incident.open(alert_about(None), registry=reader)
