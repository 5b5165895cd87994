"""Keys of a registry's log: rotation, revocation, and the log of an earlier release."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlsecops.audit import AuditLog, Checkpoint
from mlsecops.errors import (
    DigestMismatch,
    MLSecOpsError,
    RegistryError,
    Revoked,
    UntrustedSigner,
    UsageError,
)
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.migration import migrate_log
from mlsecops.signing import Signer, TrustPolicy
from tests.attackers import audit as log_attack
from tests.attackers import registry as attack

Model = Callable[[bytes], Path]


def policy_of(*signers: Signer, revoked: tuple[Signer, ...] = ()) -> TrustPolicy:
    return TrustPolicy(
        keys=[each.public_key for each in signers],
        revoked=[each.public_key.fingerprint for each in revoked],
    )


@pytest.mark.parametrize("kinds", [("p256", "ed25519"), ("ed25519", "p384")])
def test_history_stays_readable_after_the_old_key_is_revoked(
    tmp_path: Path, kinds: tuple[str, str], model: Model, signer: Signer
) -> None:
    old, new = (Signer.generate(kind) for kind in kinds)  # type: ignore[arg-type] # two kinds
    registry = Registry(tmp_path / "registry", signer=old, policy=policy_of(old, signer))
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    registry.rotate_key(new)
    registry.quarantine(Digest.of(b"other"), "poisoned")
    later = Registry(registry.location, policy=policy_of(old, new, signer, revoked=(old,)))
    assert later.resolve("fraud", "serving").version == 1
    assert later.isolated(Digest.of(b"other")) == "poisoned"
    assert len(later.log_vkeys()) >= 1
    assert later.verify_log() == registry.verify_log()


def test_a_revoked_key_that_was_not_rotated_is_named_with_what_to_do(tmp_path: Path) -> None:
    old, new = Signer.generate("p256"), Signer.generate("p256")
    Registry(tmp_path / "registry", signer=old, policy=policy_of(old))
    revoking = policy_of(old, new, revoked=(old,))
    reader = Registry(tmp_path / "registry", policy=revoking)
    with pytest.raises(Revoked, match="rotate-key --signer OLD --new-signer NEW"):
        reader.versions()
    with pytest.raises(Revoked, match="rotate-key"):
        Registry(tmp_path / "registry", policy=policy_of(old, revoked=(old,))).versions()
    writer = Registry(tmp_path / "registry", signer=old, policy=revoking)
    with pytest.raises(Revoked, match="rotate-key"):
        writer.quarantine(Digest.of(b"x"), "reason")
    writer.rotate_key(new)
    writer.quarantine(Digest.of(b"x"), "reason")
    assert reader.isolated(Digest.of(b"x")) == "reason"


def test_a_key_that_was_rotated_out_writes_nothing_more(tmp_path: Path) -> None:
    old, new = Signer.generate("ed25519"), Signer.generate("ed25519")
    policy = policy_of(old, new)
    late = Registry(tmp_path / "registry", signer=old, policy=policy)
    Registry(tmp_path / "registry", signer=old, policy=policy).rotate_key(new)
    with pytest.raises(RegistryError, match="rotated out"):
        late.quarantine(Digest.of(b"x"), "reason")
    with pytest.raises(RegistryError, match="rotated out for key"):
        Registry(tmp_path / "registry", signer=old, policy=policy).rotate_key(
            Signer.generate("ed25519")
        )
    forged = [*attack.entries_of(tmp_path / "registry"), _event(type="quarantined")]
    attack.rewrite_log(tmp_path / "registry", old, forged)
    with pytest.raises(UntrustedSigner, match="rotated out"):
        Registry(tmp_path / "registry", policy=policy).versions()


def test_a_key_is_not_rotated_to_itself(registry: Registry) -> None:
    assert registry.signer is not None
    with pytest.raises(UsageError, match="another key"):
        registry.rotate_key(registry.signer)
    with pytest.raises(UsageError, match="signer"):
        Registry(registry.location, policy=registry.policy).rotate_key(registry.signer)
    with pytest.raises(UsageError, match="signer"):
        registry.rotate_key("new.pem")  # type: ignore[arg-type] # the attack


def older_registry(registry: Registry, count: int) -> AuditLog:
    """The registry as an earlier release left it."""
    assert registry.signer is not None
    log = attack.as_earlier_release(Path(registry.location), registry.signer)
    for number in range(count):
        log.append({"type": "incident.noted", "at": datetime.now(UTC).isoformat(), "n": number})
    return log


def test_a_log_of_an_earlier_release_is_migrated_once(
    registry: Registry, signer: Signer, policy: TrustPolicy, model: Model
) -> None:
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    pinned = older_registry(registry, 20).verify()
    with pytest.raises(RegistryError, match="migrate"):
        Registry(registry.location, policy=policy)
    with pytest.raises(RegistryError, match="migrate"):
        Registry(registry.location, signer=signer, policy=policy)
    migrated = migrate_log(registry.location, signer=signer, policy=policy)
    assert (migrated.origin, migrated.size, migrated.root) == (
        pinned.origin,
        pinned.size,
        pinned.root,
    )
    later = Registry(registry.location, signer=signer, policy=policy, pinned=pinned)
    assert later.resolve("fraud", "serving").version == 1
    assert len(later.recorded("incident.noted")) == 20
    later.quarantine("fraud", "poisoned")
    assert later.verify_log(pinned).size == pinned.size + 2
    assert Checkpoint.parse(str(pinned)).size == 23
    with pytest.raises(RegistryError, match="nothing"):
        migrate_log(registry.location, signer=signer, policy=policy)


def test_a_log_that_was_changed_is_not_migrated(
    registry: Registry, signer: Signer, policy: TrustPolicy
) -> None:
    log = older_registry(registry, 3)
    log_attack.edit_entry(log.path, 2, b'{"at":"2026-01-01T00:00:00+00:00","type":"incident.x"}')
    with pytest.raises(DigestMismatch):
        migrate_log(registry.location, signer=signer, policy=policy)
    with pytest.raises(MLSecOpsError):
        Registry(registry.location, policy=policy).versions()


def _event(**event: object) -> bytes:
    plain = {"at": "2026-01-01T00:00:00+00:00", "digest": "sha256:" + "0" * 64, "reason": "x"}
    return json.dumps({**plain, **event}).encode()
