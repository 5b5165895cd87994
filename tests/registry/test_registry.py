from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.errors import (
    DigestMismatch,
    Isolated,
    MLSecOpsError,
    MLSecOpsWarning,
    RegistryError,
    Revoked,
    RollbackRefused,
    SignatureMissing,
    UnsafeContent,
    UntrustedSigner,
    UsageError,
    VerificationError,
)
from mlsecops.loading import SecureLoader
from mlsecops.provenance import Digest, hash_path
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import registry as attack

Model = Callable[[bytes], Path]


@pytest.fixture
def serving(registry: Registry, model: Model) -> Registry:
    """Three versions of which the third serves."""
    for weights in (b"one", b"two", b"three"):
        registry.publish("fraud", model(weights))
    registry.promote("fraud", 3, "serving")
    return registry


def test_versions_count_from_one(registry: Registry, model: Model) -> None:
    first, second = (registry.publish("fraud", model(weights)) for weights in (b"one", b"two"))
    assert (first.version, second.version) == (1, 2)
    assert first.digest != second.digest
    assert [version.state for version in registry.versions("fraud")] == ["published", "published"]


def test_a_published_digest_keeps_its_version(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    assert registry.publish("fraud", folder) == registry.publish("fraud", folder)
    assert len(registry.versions("fraud")) == 1


def test_what_is_resolved_is_what_was_published(serving: Registry) -> None:
    version = serving.resolve("fraud", "serving")
    assert (version.version, version.state) == (3, "serving")
    assert version.path is not None
    assert (version.path / "weights.bin").read_bytes() == b"three"
    assert serving.resolve("fraud", 1).version == 1


def test_blobs_and_resolved_files_are_read_only(serving: Registry) -> None:
    path = serving.resolve("fraud", 1).path
    assert path is not None
    for place in (path / "weights.bin", attack.blob_of(serving.location, b"one")):
        assert stat.S_IMODE(place.stat().st_mode) == 0o400


def test_an_unsigned_folder_is_not_published(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "weights.bin").write_bytes(b"x")
    with pytest.raises(SignatureMissing):
        registry.publish("fraud", tmp_path / "plain")
    assert registry.versions() == ()


def test_a_tampered_folder_is_not_published(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    (folder / "weights.bin").write_bytes(b"0ne")
    with pytest.raises(DigestMismatch):
        registry.publish("fraud", folder)
    assert registry.versions() == ()


def test_a_folder_with_an_unsigned_file_is_not_published(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    (folder / "extra.py").write_bytes(b"x")
    with pytest.raises(DigestMismatch, match=r"extra\.py"):
        registry.publish("fraud", folder)


def test_a_strangers_signature_is_not_published(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    sign(folder, Signer.generate("p256"), replace=True)
    with pytest.raises(UntrustedSigner):
        registry.publish("fraud", folder)


def test_files_that_the_signature_ignores_are_not_kept(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_bytes(b"not signed")
    registry.publish("fraud", folder)
    path = registry.resolve("fraud", 1).path
    assert path is not None
    assert sorted(place.name for place in path.iterdir()) == ["layers", "model.sig", "weights.bin"]


def test_a_link_is_not_published(registry: Registry, model: Model) -> None:
    folder = model(b"one")
    (folder / "shadow").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeContent):
        registry.publish("fraud", folder)


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "Fraud", "a.b", "-a", "a-", "a\n", "a" * 64, "über", "sha256:00"]
)
def test_names_that_are_no_labels_are_refused(registry: Registry, model: Model, name: str) -> None:
    with pytest.raises(UsageError):
        registry.publish(name, model(b"one"))
    with pytest.raises(UsageError):
        registry.resolve(name, "serving")


def test_serving_implies_approved(serving: Registry) -> None:
    serving.promote("fraud", 2, "serving")
    assert [version.state for version in serving.versions("fraud")] == [
        "published",
        "serving",
        "approved",
    ]


def test_promoting_twice_is_one_event(serving: Registry) -> None:
    size = serving.verify_log().size
    serving.promote("fraud", 3, "serving")
    serving.promote("fraud", 3, "approved")
    assert serving.verify_log().size == size


def test_unknown_versions_stages_and_models_are_refused(serving: Registry) -> None:
    with pytest.raises(RegistryError, match="1 to 3"):
        serving.promote("fraud", 4, "serving")
    with pytest.raises(RegistryError, match="1 to 3"):
        serving.resolve("fraud", 0)
    with pytest.raises(UsageError, match="approved"):
        serving.promote("fraud", 1, "production")  # type: ignore[arg-type] # the attack
    with pytest.raises(RegistryError, match="not in this registry"):
        serving.resolve("other", 1)
    with pytest.raises(RegistryError, match="serves"):
        serving.resolve("other", "serving")


def test_a_quarantined_version_is_refused_everywhere(serving: Registry) -> None:
    digest = serving.quarantine("fraud", "poisoned")
    assert serving.isolated(digest) == "poisoned"
    for call in (
        lambda: serving.resolve("fraud", "serving"),
        lambda: serving.resolve("fraud", 3),
        lambda: serving.promote("fraud", 3, "approved"),
    ):
        with pytest.raises(Isolated, match="poisoned"):
            call()
    with pytest.raises(Isolated, match="poisoned"):
        serving.publish("other", _again(serving))
    assert serving.versions("fraud")[2].state == "quarantined"


def _again(registry: Registry) -> Path:
    """The folder of version 3 as it was published."""
    return next(registry.location.parent.glob(f"model-{b'three'.hex()}*"))


def test_a_digest_that_was_never_published_can_be_quarantined(registry: Registry) -> None:
    digest = Digest.of(b"a data set")
    registry.quarantine(str(digest), "licence withdrawn")
    assert registry.isolated(digest) == "licence withdrawn"
    assert registry.isolated(Digest.of(b"another")) is None


def test_the_first_reason_of_a_quarantine_stands(serving: Registry) -> None:
    digest = serving.quarantine("fraud", "first")
    size = serving.verify_log().size
    serving.quarantine(digest, "second")
    assert serving.isolated(digest) == "first"
    assert serving.verify_log().size == size


def test_rollback_takes_the_newest_older_version(serving: Registry) -> None:
    serving.quarantine("fraud", "poisoned")
    assert serving.rollback("fraud").version == 2
    assert serving.resolve("fraud", "serving").version == 2


def test_a_rollback_from_a_version_is_repeated_without_going_back_twice(serving: Registry) -> None:
    for _ in range(2):
        assert serving.rollback("fraud", serving=3).version == 2
    assert serving.rollback("fraud", serving=2).version == 1
    size = serving.verify_log().size
    assert serving.rollback("fraud", serving=3).version == 1
    assert serving.verify_log().size == size


def test_rollback_skips_what_does_not_verify_now(serving: Registry) -> None:
    path = serving.resolve("fraud", 2).path
    attack.change_blob(serving.location, b"two", b"TWO")
    assert path is not None
    attack.change_materialised(path, "weights.bin", b"TWO")
    assert serving.rollback("fraud").version == 1


def test_rollback_skips_quarantined_versions(serving: Registry) -> None:
    serving.quarantine(serving.versions("fraud")[1].digest, "poisoned")
    assert serving.rollback("fraud").version == 1


def test_rollback_skips_revoked_versions(serving: Registry, signer: Signer) -> None:
    revoked = str(serving.versions("fraud")[1].digest)
    policy = TrustPolicy(keys=[signer.public_key], revoked=[revoked])
    strict = Registry(serving.location, signer=signer, policy=policy)
    with pytest.raises(Revoked):
        strict.resolve("fraud", 2)
    assert strict.rollback("fraud").version == 1


def test_rollback_does_not_go_below_the_floor(serving: Registry) -> None:
    serving.raise_floor("fraud", 2)
    assert serving.rollback("fraud").version == 2
    with pytest.raises(RegistryError, match="floor"):
        serving.rollback("fraud")
    with pytest.raises(RollbackRefused):
        serving.resolve("fraud", 1)
    with pytest.raises(RollbackRefused):
        serving.promote("fraud", 1, "serving")
    serving.raise_floor("fraud", 1)
    with pytest.raises(RollbackRefused):
        serving.resolve("fraud", 1)


def test_rollback_without_a_good_version_says_why(serving: Registry) -> None:
    for version in serving.versions("fraud")[:2]:
        serving.quarantine(version.digest, "poisoned")
    with pytest.raises(RegistryError, match=r"version 1: .*poisoned"):
        serving.rollback("fraud")
    assert serving.resolve("fraud", "serving").version == 3


def test_history_tells_what_happened_to_a_model(serving: Registry, model: Model) -> None:
    serving.publish("other", model(b"unrelated"))
    serving.quarantine("fraud", "poisoned")
    serving.rollback("fraud")
    assert [event.kind for event in serving.history("fraud")] == [
        "published",
        "published",
        "published",
        "serving",
        "quarantined",
        "quarantine-extended",
        "rolled-back",
    ]


def test_a_changed_cache_is_rebuilt_from_the_blobs(serving: Registry) -> None:
    path = serving.resolve("fraud", 3).path
    assert path is not None
    attack.change_materialised(path, "weights.bin", b"THREE")
    assert serving.resolve("fraud", 3).path == path
    assert (path / "weights.bin").read_bytes() == b"three"


def test_another_signed_model_in_the_cache_is_noticed(serving: Registry) -> None:
    old, new = serving.resolve("fraud", 1).path, serving.resolve("fraud", 3).path
    assert old is not None
    assert new is not None
    attack.swap_materialised(new, old)
    path = serving.resolve("fraud", 3).path
    assert path is not None
    assert (path / "weights.bin").read_bytes() == b"three"


def test_a_changed_blob_is_refused(serving: Registry) -> None:
    path = serving.resolve("fraud", 3).path
    assert path is not None
    attack.change_blob(serving.location, b"three", b"THREE")
    attack.change_materialised(path, "weights.bin", b"THREE")
    with pytest.raises(DigestMismatch):
        serving.resolve("fraud", 3)


def test_publishing_again_heals_a_changed_blob(serving: Registry) -> None:
    attack.change_blob(serving.location, b"three", b"THREE")
    serving.publish("fraud", _again(serving))
    assert attack.blob_of(serving.location, b"three").read_bytes() == b"three"


def test_a_missing_blob_is_said(serving: Registry) -> None:
    path = serving.resolve("fraud", 3).path
    assert path is not None
    attack.blob_of(serving.location, b"three").unlink()
    attack.change_materialised(path, "weights.bin", b"THREE")
    with pytest.raises(RegistryError, match="missing"):
        serving.resolve("fraud", 3)


def test_an_unsigned_event_changes_no_state(serving: Registry, signer: Signer) -> None:
    good = serving.versions("fraud")[0]
    attack.forge_event(
        serving.location, type="serving", name="fraud", version=1, digest=str(good.digest)
    )
    fresh = Registry(serving.location, signer=signer, policy=serving.policy)
    for registry in (serving, fresh):
        with pytest.raises(VerificationError):
            registry.resolve("fraud", "serving")
        with pytest.raises(MLSecOpsError):
            registry.promote("fraud", 2, "serving")
        assert "cannot be trusted" in str(registry.isolated(good.digest))
        with pytest.raises(VerificationError):
            registry.verify_log()


def test_an_older_log_does_not_lift_a_quarantine(serving: Registry) -> None:
    older = attack.copy_log(serving.location)
    digest = serving.quarantine("fraud", "poisoned")
    pinned = serving.verify_log()
    attack.restore_log(serving.location, older)
    assert serving.isolated(digest) is not None
    with pytest.raises(RollbackRefused):
        serving.verify_log(pinned)


def test_a_removed_log_does_not_lift_a_quarantine(serving: Registry, signer: Signer) -> None:
    digest = serving.quarantine("fraud", "poisoned")
    attack.remove_log(serving.location)
    assert serving.isolated(digest) is not None
    with pytest.raises(RegistryError, match="restore"):
        Registry(serving.location, signer=signer, policy=serving.policy)


def test_a_log_signed_by_a_stranger_is_refused(
    serving: Registry, policy: TrustPolicy, tmp_path: Path, model: Model
) -> None:
    strangers = Registry(tmp_path / "theirs", signer=Signer.generate("p256"), policy=policy)
    strangers.publish("fraud", model(b"old and weak"))
    strangers.promote("fraud", 1, "serving")
    attack.restore_log(serving.location, attack.copy_log(strangers.location))
    reader = Registry(serving.location, policy=policy)
    with pytest.raises(UntrustedSigner):
        reader.resolve("fraud", "serving")


def test_a_key_for_some_models_only_does_not_sign_logs(tmp_path: Path) -> None:
    limited = Signer.generate("p256")
    (tmp_path / "key.pem").write_text(limited.public_key.pem)
    (tmp_path / "trust.toml").write_text('[[keys]]\npath = "key.pem"\nmodels = ["fraud-*"]\n')
    policy = TrustPolicy.load(tmp_path / "trust.toml")
    Registry(tmp_path / "registry", signer=limited, policy=policy)
    with pytest.raises(UsageError, match="no key"):
        Registry(tmp_path / "registry", policy=policy).verify_log()


def test_a_reader_needs_no_signer_and_cannot_write(serving: Registry, model: Model) -> None:
    reader = Registry(serving.location, policy=serving.policy)
    assert reader.resolve("fraud", "serving").version == 3
    for call in (
        lambda: reader.publish("fraud", model(b"four")),
        lambda: reader.promote("fraud", 1, "serving"),
        lambda: reader.quarantine("fraud", "reason"),
        lambda: reader.rollback("fraud"),
    ):
        with pytest.raises(UsageError, match="signer"):
            call()


def test_a_folder_that_is_no_registry_is_refused(
    tmp_path: Path, signer: Signer, policy: TrustPolicy
) -> None:
    with pytest.raises(RegistryError):
        Registry(tmp_path / "none", policy=policy)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_bytes(b"x")
    with pytest.raises(RegistryError, match="empty"):
        Registry(tmp_path / "full", signer=signer, policy=policy)


def test_a_quarantine_needs_a_reason_and_a_target(serving: Registry) -> None:
    with pytest.raises(UsageError, match="reason"):
        serving.quarantine("fraud", "")
    with pytest.raises(UsageError):
        serving.quarantine("sha256:zz", "reason")
    with pytest.raises(RegistryError):
        serving.quarantine("unknown", "reason")


def test_an_event_of_an_unknown_kind_stops_the_registry(serving: Registry) -> None:
    body = b'{"type": "embargoed", "at": "2027-01-01T00:00:00+00:00"}'
    serving._log.append([body], size=serving.verify_log().size)
    with pytest.raises(RegistryError, match="update"):
        serving.resolve("fraud", "serving")


def test_another_process_sees_a_quarantine_at_its_next_call(serving: Registry) -> None:
    digest = serving.versions("fraud")[2].digest
    assert serving.isolated(digest) is None
    _in_child(lambda: serving.quarantine(digest, "poisoned"))
    assert serving.isolated(digest) == "poisoned"


def test_many_processes_publish_without_losing_a_version(registry: Registry, model: Model) -> None:
    folders = [model(bytes([number])) for number in range(6)]
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=registry.publish, args=("fraud", folder)) for folder in folders
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert [version.version for version in registry.versions("fraud")] == [1, 2, 3, 4, 5, 6]
    assert len({version.digest for version in registry.versions("fraud")}) == 6


def test_many_threads_resolve_while_one_promotes(serving: Registry) -> None:
    failures: list[BaseException] = []

    def resolve() -> None:
        try:
            for _ in range(3):
                serving.resolve("fraud", "serving")
        except BaseException as error:  # noqa: BLE001 - shown to the test
            failures.append(error)

    threads = [threading.Thread(target=resolve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (1, 2, 3):
        serving.promote("fraud", version, "serving")
    for thread in threads:
        thread.join()
    assert failures == []


def _in_child(action: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake2b", "blake3"])
def test_the_same_files_signed_again_with_another_algorithm_are_quarantined_too(
    registry: Registry, model: Model, signer: Signer, algorithm: str
) -> None:
    folder = model(b"one")
    first = registry.publish("fraud", folder)
    registry.quarantine("fraud", "poisoned")
    again = sign(folder, signer, algorithm=algorithm)
    assert hash_path(folder, algorithm=algorithm).root != first.digest
    with pytest.raises(Isolated, match="poisoned"):
        registry.publish("fraud", folder)
    with pytest.raises(Isolated, match="poisoned"):
        SecureLoader(registry.policy, isolation=registry).load(folder, bundle=again.path)


def test_a_version_signed_with_another_algorithm_is_quarantined_under_the_usual_one_too(
    registry: Registry, model: Model, signer: Signer
) -> None:
    folder = model(b"one")
    sign(folder, signer, algorithm="blake2b")
    registry.publish("fraud", folder)
    registry.quarantine("fraud", "poisoned")
    assert registry.isolated(hash_path(folder).root) == "poisoned"


def test_a_quarantine_holds_when_the_files_cannot_be_hashed_again(
    registry: Registry, model: Model
) -> None:
    first = registry.publish("fraud", model(b"one"))
    attack.change_blob(registry.location, b"one", b"0ne")
    with pytest.warns(MLSecOpsWarning, match="revoke the key"):
        registry.quarantine("fraud", "poisoned")
    assert registry.isolated(first.digest) == "poisoned"


def test_a_quarantine_cut_off_half_way_is_completed_by_the_next(
    registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model(b"one")
    registry.publish("fraud", folder)
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "_quarantine_twins", lambda *_: None)
        registry.quarantine("fraud", "poisoned")
    other = hash_path(folder, algorithm="sha512").root
    assert registry.isolated(other) is None
    registry.quarantine("fraud", "again")
    assert registry.isolated(other) is not None
    registry.quarantine("fraud", "and again")
    assert len(registry.recorded("quarantine-extended")) == 1
