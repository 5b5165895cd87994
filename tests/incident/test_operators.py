"""Incidents of a registry whose operator is not a signer of models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlsecops import sign
from mlsecops.errors import EvidenceError, IncidentError, RegistryError
from mlsecops.findings import Alert
from mlsecops.incident import Incident, Playbook
from mlsecops.incident.actions import validate_serving
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy
from tests.incident.conftest import alert_about


def separate(root: Path, signers: list[Signer], operator: Signer) -> tuple[Registry, Alert]:
    """A registry with two versions, of which the second serves, signed by all signers."""
    policy = TrustPolicy(keys=[each.public_key for each in signers], threshold=len(signers))
    registry = Registry(
        root / "registry", signer=operator, policy=policy, log_keys=[operator.public_key]
    )
    for number in (1, 2):
        folder = root / f"model-{number}"
        folder.mkdir()
        (folder / "weights.bin").write_bytes(bytes([number]))
        for each in signers:
            sign(folder, each, add=each is not signers[0])
        version = registry.publish("fraud", folder)
    registry.promote("fraud", 2, "serving")
    return registry, alert_about(str(version.digest))


@pytest.mark.parametrize("count", [1, 2])
def test_a_playbook_closes_where_the_operator_signs_no_models(tmp_path: Path, count: int) -> None:
    signers = [Signer.generate("p256") for _ in range(count)]
    registry, alert = separate(tmp_path, signers, Signer.generate("ed25519"))
    incident = Incident.open(alert, registry=registry)
    Playbook.default("extraction", remediate=lambda _: True, validate=lambda *_: True).run(
        incident, approve=lambda _: True
    )
    assert incident.state == "closed"
    assert registry.resolve("fraud", "serving").version == 1


def test_a_signer_of_models_alone_does_not_vouch_for_evidence(tmp_path: Path) -> None:
    [models, operator] = [Signer.generate("p256") for _ in range(2)]
    registry, alert = separate(tmp_path, [models], operator)
    incident = Incident.open(alert, registry=registry)
    Playbook.default().run(incident)
    incident.evidence.verify()
    sign(incident.evidence.path, models, replace=True)
    with pytest.raises(EvidenceError):
        incident.evidence.verify()


def test_what_serves_and_does_not_verify_is_not_validated(
    registry: Registry, alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = Incident.open(alert, registry=registry)

    def damaged(*_: object) -> None:
        raise RegistryError("weights.bin differs")

    monkeypatch.setattr(incident.registry, "serves", lambda _: True)
    monkeypatch.setattr(incident.registry, "resolve", damaged)
    with pytest.raises(IncidentError, match=r"no version can be validated: weights\.bin differs"):
        validate_serving(incident, lambda *_: None)


def test_alerts_about_two_clients_are_two_incidents(registry: Registry, alert: Alert) -> None:
    first = Incident.open(alert, registry=registry)
    second = Incident.open(replace(alert, client="trudy"), registry=registry)
    assert first.id != second.id
    assert [each.subject["client"] for each in (first, second)] == ["mallory", "trudy"]
    assert Incident.open(alert, registry=registry).id == first.id
