"""A registry whose folder somebody else can write: pinned log, foreign files, private files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlsecops.audit import Checkpoint
from mlsecops.errors import (
    DigestMismatch,
    Isolated,
    MLSecOpsError,
    MLSecOpsWarning,
    ModelIsolated,
    RegistryError,
    RollbackRefused,
    UsageError,
)
from mlsecops.loading import SecureLoader
from mlsecops.monitoring import IsolationGuard
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.listing import remove_folder
from mlsecops.signing import Signer, TrustPolicy
from tests.attackers import registry as attack

Model = Callable[[bytes], Path]


@pytest.fixture
def quarantined(registry: Registry, model: Model, tmp_path: Path) -> Registry:
    """A registry whose quarantine an older log, now in its place, does not know."""
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    older = attack.copy_log(registry.location)
    registry.quarantine("fraud", "backdoor")
    (tmp_path / "pin.txt").write_text(str(registry.verify_log()))
    attack.restore_log(registry.location, older)
    return registry


@pytest.mark.parametrize("form", ["file", "text", "checkpoint"])
def test_an_older_log_does_not_lift_a_quarantine_for_a_new_process(
    quarantined: Registry, policy: TrustPolicy, tmp_path: Path, form: str
) -> None:
    pin = tmp_path / "pin.txt"
    forms = {"file": pin, "text": pin.read_text(), "checkpoint": Checkpoint.parse(pin.read_text())}
    later = Registry(quarantined.location, policy=policy, pinned=forms[form])  # type: ignore[arg-type] # one of three
    digest = Digest.of(b"any")
    with pytest.raises(RollbackRefused):
        later.resolve("fraud", "serving")
    assert "cut off" in str(later.isolated(digest))
    with pytest.raises(Isolated, match="cannot be trusted"):
        SecureLoader(policy, isolation=later).load(tmp_path / f"model-{b'one'.hex()}")
    with pytest.raises(ModelIsolated, match="cannot be trusted"):
        IsolationGuard(digest, later).check(None, None)
    for call in (later.versions, later.verify_log, lambda: later.history("fraud")):
        with pytest.raises(RollbackRefused):
            call()


def test_a_writer_does_not_go_on_from_an_older_log(
    quarantined: Registry, policy: TrustPolicy, signer: Signer, tmp_path: Path
) -> None:
    later = Registry(
        quarantined.location, signer=signer, policy=policy, pinned=tmp_path / "pin.txt"
    )
    for call in (
        lambda: later.promote("fraud", 1, "serving"),
        lambda: later.quarantine(Digest.of(b"any"), "other"),
        lambda: later.rollback("fraud"),
        lambda: later.record_once("incident.opened", {"incident": "inc-1"}),
    ):
        with pytest.raises(RollbackRefused):
            call()


def test_another_registry_of_the_operator_is_refused(
    registry: Registry, policy: TrustPolicy, signer: Signer, tmp_path: Path
) -> None:
    pin = tmp_path / "pin.txt"
    named = Registry(
        tmp_path / "named", signer=signer, policy=policy, pinned=pin, origin="example.org/models"
    )
    assert named.verify_log().origin == "example.org/models"
    attack.restore_log(named.location, attack.copy_log(registry.location))
    by_name = Registry(named.location, policy=policy, origin="example.org/models")
    by_pin = Registry(named.location, policy=policy, pinned=pin)
    for each in (by_name, by_pin):
        with pytest.raises(DigestMismatch, match="another log"):
            each.versions()
        assert "another log" in str(each.isolated(Digest.of(b"any")))


def test_a_forked_log_of_the_same_size_is_refused(
    registry: Registry, policy: TrustPolicy, signer: Signer, tmp_path: Path
) -> None:
    registry.quarantine(Digest.of(b"any"), "backdoor")
    pin = tmp_path / "pin.txt"
    pin.write_text(str(registry.verify_log()))
    attack.fork_log(registry.location, signer, size=registry.verify_log().size)
    later = Registry(registry.location, policy=policy, pinned=pin)
    assert "rewritten" in str(later.isolated(Digest.of(b"any")))


def test_an_emptied_registry_is_not_begun_again(
    registry: Registry, policy: TrustPolicy, signer: Signer, tmp_path: Path
) -> None:
    pin = tmp_path / "pin.txt"
    Registry(registry.location, policy=policy, pinned=pin).versions()
    attack.remove_log(registry.location)
    with pytest.raises(RollbackRefused, match="removed"):
        Registry(registry.location, signer=signer, policy=policy, pinned=pin)


def test_the_pinned_file_moves_forward(
    registry: Registry, policy: TrustPolicy, tmp_path: Path
) -> None:
    pin = tmp_path / "pin.txt"
    later = Registry(registry.location, policy=policy, pinned=pin)
    for number in range(3):
        digest = registry.quarantine(Digest.of(bytes([number])), "backdoor")
        assert later.isolated(digest) == "backdoor"
        assert Checkpoint.parse(pin.read_text()).size == registry.verify_log().size


def test_what_is_pinned_is_a_checkpoint_or_a_path(registry: Registry, policy: TrustPolicy) -> None:
    for wrong in (7, b"bytes", ["x"]):
        with pytest.raises(UsageError, match="pinned"):
            Registry(registry.location, policy=policy, pinned=wrong)  # type: ignore[arg-type] # the attack


def _file_for(place: Path) -> None:
    remove_folder(place)
    place.write_bytes(b"")


def _pipe_for(place: Path) -> None:
    remove_folder(place)
    os.mkfifo(place)


@pytest.mark.parametrize("exchange", [_file_for, _pipe_for])
@pytest.mark.parametrize("part", ["cache", "blobs", "blob", "log", "log/checkpoint"])
def test_storage_errors_are_the_registry_s(
    registry: Registry, tmp_path: Path, model: Model, exchange: Callable[[Path], None], part: str
) -> None:
    cache, policy = tmp_path / "cache", registry.policy
    registry = Registry(registry.location, signer=registry.signer, policy=policy, cache=cache)
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    remove_folder(cache)
    places = {"blob": attack.blob_of(registry.location, b"one"), "cache": cache}
    exchange(places.get(part, registry.location / part))
    with pytest.raises(MLSecOpsError):
        Registry(registry.location, policy=policy, cache=cache).resolve("fraud", "serving")
    with pytest.raises(MLSecOpsError):
        registry.resolve("fraud", 1)


def test_a_cache_that_cannot_be_written_is_a_registry_error(
    registry: Registry, policy: TrustPolicy, model: Model, tmp_path: Path
) -> None:
    registry.publish("fraud", model(b"one"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RegistryError, match="cache"):
        Registry(registry.location, policy=policy, cache=tmp_path / "file").resolve("fraud", 1)


def test_a_listing_as_large_as_a_disk_is_not_read(
    registry: Registry, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish("fraud", model(b"one"))
    monkeypatch.setattr("mlsecops.registry.blobs._MOST_READ_BYTES", 50)
    with pytest.raises(RegistryError, match="at most 50 bytes"):
        registry.resolve("fraud", 1)


@pytest.mark.parametrize("part", ["head", "log/checkpoint", "log/tile/0/000.p/3", "entries"])
def test_an_object_as_large_as_a_disk_is_not_read(
    registry: Registry, policy: TrustPolicy, model: Model, part: str
) -> None:
    """Whoever can write the folder offers readers more than memory holds."""
    registry.publish("fraud", model(b"one"))
    registry.promote("fraud", 1, "serving")
    names = {"entries": "log/tile/entries/000.p/3"}
    place = Path(registry.location, names.get(part, part))
    place.chmod(0o600)
    os.truncate(place, 1 << 40)
    writer = registry.signer if part == "head" else None  # nobody else reads it

    def use() -> None:
        fresh = Registry(registry.location, signer=writer, policy=policy)
        fresh.verify_log()
        if writer is not None:
            fresh.quarantine(Digest.of(b"x"), "reason")

    with pytest.raises(MLSecOpsError):
        use()
    if part == "log/checkpoint":
        assert "cannot be trusted" in str(registry.isolated(Digest.of(b"x")))


def test_times_that_go_back_are_a_warning(
    registry: Registry, policy: TrustPolicy, signer: Signer, model: Model
) -> None:
    registry.publish("fraud", model(b"one"))
    soon = Registry(
        registry.location,
        signer=signer,
        policy=policy,
        clock=lambda: datetime.now(UTC) - timedelta(seconds=20),
    )
    soon.promote("fraud", 1, "approved")
    registry.verify_log()
    late = Registry(
        registry.location,
        signer=signer,
        policy=policy,
        clock=lambda: datetime(2001, 1, 1, tzinfo=UTC),
    )
    late.promote("fraud", 1, "serving")
    for call in (registry.verify_log, lambda: registry.history("fraud")):
        with pytest.warns(MLSecOpsWarning, match="entry 3.*2001"):
            call()


UMASKS = pytest.mark.parametrize("umask", [0o000, 0o022, 0o277], indirect=True)


def modes(folder: Path) -> set[int]:
    places = (folder, *folder.rglob("*"))
    return {stat.S_IMODE(place.stat().st_mode) for place in places}


@UMASKS
@pytest.mark.usefixtures("umask")
def test_files_are_the_owner_s_alone_whatever_the_umask(
    policy: TrustPolicy, signer: Signer, tmp_path: Path, registry: Registry, model: Model
) -> None:
    before = os.umask(0o022)
    folder = model(b"one")
    os.umask(before)
    own = Registry(
        tmp_path / "deep" / "own", signer=signer, policy=policy, pinned=tmp_path / "pin.txt"
    )
    own.publish("fraud", folder)
    own.resolve("fraud", 1)
    assert modes(own.location) == {0o700, 0o600, 0o400}
    assert modes(tmp_path / "pin.txt") == {0o600}
    assert stat.S_IMODE(own.location.parent.stat().st_mode) == 0o700
    assert registry.location.is_dir()


@UMASKS
@pytest.mark.usefixtures("umask")
def test_a_folder_with_the_set_group_id_bit_is_shared_with_its_group(
    policy: TrustPolicy, signer: Signer, tmp_path: Path, model: Model
) -> None:
    before = os.umask(0o022)
    folder = model(b"one")
    os.umask(before)
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o2770)
    shared = Registry(place, signer=signer, policy=policy)
    shared.publish("fraud", folder)
    shared.resolve("fraud", 1)
    assert modes(place) == {0o2770, 0o660, 0o440}
