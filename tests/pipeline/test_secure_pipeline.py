from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlsecops import Gate, SecurePipeline, Signer, TrustPolicy, errors, hash_dataset, sign
from mlsecops.monitoring import IsolationGuard, RateLimit, monitored
from mlsecops.provenance import Digest
from mlsecops.reports import ControlState
from mlsecops.signing import KeySigner, Verified, verify
from tests.attackers.signing import flip_byte


class NothingIsolated:
    def isolated(self, digest: Digest) -> str | None:  # noqa: ARG002 - the protocol's
        return None


@pytest.fixture(scope="module")
def signer() -> KeySigner:
    return Signer.generate("p256")


@pytest.fixture
def policy(signer: KeySigner) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])


@pytest.fixture
def model(tmp_path: Path, signer: KeySigner) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "w.bin").write_bytes(b"weights")
    sign(root, signer)
    return root


def states(pipeline: SecurePipeline, verified: Verified) -> dict[str, ControlState]:
    return {name: state for name, (state, _) in pipeline.control_states(verified).items()}


def test_six_deliverables_come_from_a_signed_model_alone(
    model: Path, policy: TrustPolicy, tmp_path: Path
) -> None:
    delivery = SecurePipeline(name="tiny", model=model, policy=policy).deliver(tmp_path / "out")
    for name in ("architecture.svg", "signing/model.sig", "dashboard.json", "alerts.yml"):
        assert name in delivery.files
    for name in delivery.files:
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    bom = json.loads((tmp_path / "out" / "bom.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"


def test_nothing_is_delivered_for_a_model_that_does_not_verify(
    model: Path, policy: TrustPolicy, tmp_path: Path
) -> None:
    flip_byte(model / "w.bin")
    with pytest.raises(errors.DigestMismatch):
        SecurePipeline(name="tiny", model=model, policy=policy).deliver(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_measurement_that_was_not_made_is_not_claimed(
    model: Path, policy: TrustPolicy, tmp_path: Path
) -> None:
    gate = Gate(min_accuracy=0.5)
    SecurePipeline(name="tiny", model=model, policy=policy, gate=gate).deliver(tmp_path / "out")
    assert not (tmp_path / "out" / "robustness.json").exists()
    page = (tmp_path / "out" / "index.html").read_text()
    for told in ("not judged", "not measured", "Not measured: the pipeline has neither"):
        assert told in page
    assert "Accuracy under attack" not in page


def test_only_controls_that_the_parts_prove_are_credited(model: Path, policy: TrustPolicy) -> None:
    verified = verify(model, policy=policy)
    bare = states(SecurePipeline(name="tiny", model=model, policy=policy), verified)
    assert bare.keys() == {"Signature", "Signature check"}

    @monitored("tiny", guards=[IsolationGuard(verified.digest, NothingIsolated()), RateLimit(5.0)])
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    watched = SecurePipeline(
        name="tiny",
        model=model,
        policy=policy,
        monitor=predict.monitor,
        datasets={"d": hash_dataset(np.arange(3), name="d")},
        controls={"Access control": (ControlState.ADVISORY, "the bucket's policy")},
    )
    found = states(watched, verified)
    assert found["Isolation"] == found["Rate limit"] == ControlState.ADVISORY
    assert found["Dataset digest"] == ControlState.ADVISORY
    assert found["Dropped-call counter"] == ControlState.ADVISORY
    assert "Drift" not in found
    _, where = watched.control_states(verified)["Access control"]
    assert where == "declared: the bucket's policy"
    predict.monitor.close()


def test_a_declaration_does_not_override_what_the_parts_prove(
    model: Path, policy: TrustPolicy
) -> None:
    pipeline = SecurePipeline(
        name="tiny",
        model=model,
        policy=policy,
        controls={"Signature": (ControlState.ABSENT, "nowhere")},
    )
    found = states(pipeline, verify(model, policy=policy))
    assert found["Signature"] == ControlState.ENFORCED


def test_the_keys_of_the_signers_are_delivered_and_no_others(model: Path, tmp_path: Path) -> None:
    first, second, idle = (Signer.generate("ed25519") for _ in range(3))
    sign(model, [first, second], replace=True)
    policy = TrustPolicy(keys=[idle.public_key, first.public_key, second.public_key], threshold=2)
    delivery = SecurePipeline(name="t", model=model, policy=policy).deliver(tmp_path / "out")
    keys = [name for name in delivery.files if name.endswith(".pem")]
    assert keys == ["signing/release.pub.pem", "signing/release-2.pub.pem"]
    found = [(tmp_path / "out" / name).read_text() for name in keys]
    assert found == [first.public_key.pem, second.public_key.pem]
    pipeline = SecurePipeline(name="t", model=model, policy=policy)
    _, card, *_ = pipeline._cards(verify(model, policy=policy), delivery.files)
    assert {*keys, "signing/model.sig"} <= {*card.files}
    assert all(name.startswith("signing/") for name in card.files)


def test_a_dashboard_names_the_model_where_something_ties_it_to_it(
    model: Path, policy: TrustPolicy
) -> None:
    """Snapshots alone may be of any model."""
    verified = verify(model, policy=policy)

    @monitored("tiny", digest="sha256:" + "ab" * 32)
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    snapshot = predict.monitor.snapshot()
    given = (
        ({}, str(verified.digest)),
        ({"snapshots": {"now": snapshot}}, None),
        ({"snapshots": {"now": snapshot}, "monitor": predict.monitor}, "sha256:" + "ab" * 32),
    )
    for parts, digest in given:
        pipeline = SecurePipeline(name="tiny", model=model, policy=policy, **parts)
        page = pipeline._dashboard(verified)["dashboard.html"]
        assert (str(verified.digest)[:19] in page, "sha256:abab" in page) == (
            digest == str(verified.digest), digest is not None and "abab" in digest
        )  # fmt: skip
    predict.monitor.close()
