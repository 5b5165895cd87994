"""Records of a registry besides its versions: documents, revoked keys, new signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops.errors import DigestMismatch, RegistryError, Revoked, UsageError
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign


@pytest.fixture
def keys() -> dict[str, Signer]:
    return {name: Signer.generate("ed25519") for name in ("leaked", "good", "new", "operator")}


@pytest.fixture
def registry(tmp_path: Path, keys: dict[str, Signer]) -> Registry:
    """`fraud` signed with the key that leaks, `churn` with another."""
    operator = keys["operator"]
    models = TrustPolicy(keys=[keys[name].public_key for name in ("leaked", "good", "new")])
    registry = Registry(
        tmp_path / "registry", signer=operator, policy=models, log_keys=[operator.public_key]
    )
    for name, key in (("fraud", "leaked"), ("churn", "good")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "weights.bin").write_text(name)
        sign(folder, keys[key])
        registry.publish(name, folder)
        registry.promote(name, 1, "serving")
    return registry


def test_a_document_is_found_by_its_digest(registry: Registry) -> None:
    digest = registry.keep(b"evidence")
    assert registry.kept(digest) == b"evidence"
    with pytest.raises(RegistryError):
        registry.kept(Digest.of(b"nothing"))
    with pytest.raises(UsageError, match="data"):
        registry.keep("text")  # type: ignore[arg-type] # the misuse


def test_a_quarantined_key_signs_nothing_and_other_keys_do(
    registry: Registry, keys: dict[str, Signer]
) -> None:
    registry.quarantine(f"sha256:{keys['leaked'].public_key.fingerprint}", "leaked")
    assert registry.resolve("churn", "serving").version == 1
    with pytest.raises(Revoked):
        registry.resolve("fraud", "serving")
    with pytest.raises(Revoked):
        registry.claim("fraud", 1)
    assert registry.claim("churn", 1).signers == (keys["good"].public_key.fingerprint,)


def test_a_new_signature_of_the_same_files_serves_again(
    registry: Registry, keys: dict[str, Signer], tmp_path: Path
) -> None:
    registry.quarantine(f"sha256:{keys['leaked'].public_key.fingerprint}", "leaked")
    with pytest.raises(Revoked):
        registry.replace_signature("fraud", 1, tmp_path / "fraud")
    sign(tmp_path / "fraud", keys["new"], replace=True)
    assert registry.replace_signature("fraud", 1, tmp_path / "fraud").version == 1
    assert registry.resolve("fraud", "serving").version == 1
    size = registry.verify_log().size
    registry.replace_signature("fraud", 1, tmp_path / "fraud")
    assert registry.verify_log().size == size
    with pytest.raises(DigestMismatch, match="expected the files of fraud version 1"):
        registry.replace_signature("fraud", 1, tmp_path / "churn")


def test_isolations_are_read_at_once(registry: Registry) -> None:
    assert registry.isolations() == {}
    digest = registry.quarantine("fraud", "poisoned")
    assert registry.isolations()[str(digest)] == "poisoned"


def test_files_are_written_and_listed_as_the_log_records_them(
    registry: Registry, keys: dict[str, Signer], tmp_path: Path
) -> None:
    registry.quarantine(f"sha256:{keys['leaked'].public_key.fingerprint}", "leaked")
    assert registry.files("fraud", 1) == {"weights.bin": Digest.of(b"fraud")}
    folder = registry.checkout("fraud", 1, tmp_path / "out")
    assert (folder / "weights.bin").read_text() == "fraud"
    sign(folder, keys["new"], replace=True)
    assert registry.replace_signature("fraud", 1, folder).version == 1


def test_one_event_has_a_number(registry: Registry) -> None:
    first = {"incident": "inc-1", "number": 0, "record": "a"}
    for _ in range(2):
        assert registry.record_once("incident.step", first, unique=("incident", "number"))
    second = {**first, "record": "b"}
    assert not registry.record_once("incident.step", second, unique=("incident", "number"))
    assert len(registry.recorded("incident.")) == len(registry.recorded("incident.step")) == 1
    assert registry.record_once("incident.step", {**second, "number": 1}, unique=("number",))
    with pytest.raises(UsageError, match="incident"):
        registry.record_once("published", {})
