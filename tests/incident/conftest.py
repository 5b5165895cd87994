from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlsecops.findings import Alert, Severity
from mlsecops.incident import Incident
from mlsecops.provenance import Digest, Manifest, Statement, hash_path
from mlsecops.provenance.lineage import SLSA_PROVENANCE, dataset_descriptor
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer.generate("ed25519")


@pytest.fixture(scope="session")
def policy(signer: Signer) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])


def publish(registry: Registry, folder: Path, weights: bytes, data: Manifest) -> Digest:
    """Publish a signed model that says it was trained on some data."""
    folder.mkdir()
    (folder / "weights.bin").write_bytes(weights)
    statement = Statement.build(
        subjects={folder.name: hash_path(folder).root},
        predicate_type=SLSA_PROVENANCE,
        predicate={"buildDefinition": {"resolvedDependencies": [dataset_descriptor(data)]}},
    )
    assert registry.signer is not None
    sign(folder, registry.signer, statements=[statement])
    return registry.publish("fraud", folder).digest


@pytest.fixture
def registry(tmp_path: Path, signer: Signer, policy: TrustPolicy) -> Registry:
    """Two versions from the same data, of which the second serves."""
    registry = Registry(tmp_path / "registry", signer=signer, policy=policy, clock=lambda: AT)
    (tmp_path / "data.csv").write_bytes(b"a,b\n1,2\n")
    data = hash_path(tmp_path / "data.csv")
    for number in (1, 2):
        publish(registry, tmp_path / f"model-{number}", bytes([number]), data)
    registry.promote("fraud", 2, "serving")
    return registry


@pytest.fixture
def alert(registry: Registry) -> Alert:
    return alert_about(str(registry.versions("fraud")[1].digest))


def alert_about(digest: str | None, *, rule: str = "extraction", atlas: str | None = None) -> Alert:
    return Alert(
        rule=rule,
        monitor="fraud",
        client="mallory",
        digest=digest,
        reading=float("inf"),
        threshold=0.5,
        window="last 500 calls",
        severity=Severity.HIGH,
        atlas=atlas,
        message="client mallory queries like a model thief",
        at=AT,
    )


@pytest.fixture
def incident(alert: Alert, registry: Registry) -> Incident:
    return Incident.open(alert, registry=registry, clock=lambda: AT, snapshot={"calls": 7})
