"""Refusals of a registry's log, listings and places, each by its own message."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mlsecops.errors import DigestMismatch, RegistryError, Revoked, UsageError
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.listing import Listing
from mlsecops.registry.state import State
from mlsecops.signing import Signer, TrustPolicy

DIGEST = str(Digest.of(b"model"))
PUBLISHED = {
    "type": "published", "at": "2026-01-01T00:00:00+00:00", "name": "m", "version": 1,
    "digest": DIGEST, "listing": DIGEST,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": None}, "entry 0: it has no type or no time"),
        ({"at": 3}, "entry 0: it has no type or no time"),
        ({"version": 2}, "entry 0: expected m version 1, got 2"),
        ({"digest": "sha256:x"}, r"entry 0 \(published\): malformed"),
        ({"listing": 3}, r"entry 0 \(published\): malformed"),
    ],
)
def test_an_event_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    assert State().after([PUBLISHED]).record("m", 1).version == 1
    with pytest.raises(RegistryError, match=message):
        State().after([{**PUBLISHED, **changes}])


def test_a_summary_that_says_too_little_is_refused() -> None:
    assert State.from_summary(State().summary(), past=tuple).size == 0
    with pytest.raises(RegistryError, match="summary of a registry: malformed"):
        State.from_summary(b'{"size": 0}', past=tuple)


@pytest.mark.parametrize("text", ['{"a": 3}', '{"a": "sha256:x"}'])
def test_a_listing_without_digests_is_refused(text: str) -> None:
    with pytest.raises(RegistryError, match="listing is malformed"):
        Listing.load(text.encode())


def test_a_folder_that_cannot_be_read_is_wrong_use_and_a_full_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = tmp_path / "model", tmp_path / "copy"
    with pytest.raises(UsageError, match="expected a folder with a signed model"):
        Listing.capture(source, copy)
    (source / "layers").mkdir(parents=True)
    (source / "weights").write_bytes(b"w")
    assert len(Listing.capture(source, tmp_path / "first").files) == 1

    def failing(place: Path, code: int) -> Callable[..., Any]:
        return Mock(side_effect=OSError(code, os.strerror(code), str(place)))

    place = "mlsecops.registry.listing.copy_hashed"
    monkeypatch.setattr(place, failing(source / "weights", errno.EACCES))
    with pytest.raises(UsageError, match=r"cannot be copied: .*Permission denied"):
        Listing.capture(source, copy)
    monkeypatch.setattr(place, failing(copy / "weights", errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        Listing.capture(source, copy)
    monkeypatch.setattr(os, "scandir", failing(source / "layers", errno.EACCES))
    with pytest.raises(UsageError, match=r"cannot be copied: .*Permission denied"):
        Listing.capture(source, copy)


def test_a_version_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    listing = Listing((("weights", Digest.of(b"w")),))
    full = Mock(streams=1, copy=Mock(side_effect=OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        listing.build(tmp_path / "built", full)
    assert [*tmp_path.iterdir()] == []


def test_a_place_or_event_that_cannot_be_kept_is_wrong_use(
    tmp_path: Path, signer: Signer, policy: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"location: cannot make .*/file/registry"):
        Registry(tmp_path / "file" / "registry", signer=signer, policy=policy)
    events = Registry(tmp_path / "registry", signer=signer, policy=policy)._events
    with pytest.raises(UsageError, match="event: expected JSON values"):
        events.record(lambda _: {"type": "incident.noted", "n": float("nan")})
    monkeypatch.setattr(events, "append", lambda *_, **__: None)
    monkeypatch.setattr("mlsecops.registry.event_log._PATIENCE", 0.05)
    with pytest.raises(RegistryError, match="other writers were faster"):
        events.record(lambda _: {"type": "incident.noted"})


def test_a_version_has_the_signature_of_its_own_model(
    registry: Registry, model: Callable[[bytes], Path]
) -> None:
    for weights in (b"one", b"two"):
        registry.publish("m", model(weights))
    one, two = (registry._events.state().record("m", number) for number in (1, 2))
    forged = {"type": "published", "name": "x", "version": 1, "digest": str(one.digest)}
    registry._events.record(lambda _: {**forged, "listing": str(two.listing)})
    assert registry.claim("m", 1).manifest.root == one.digest
    with pytest.raises(DigestMismatch, match="its signature says"):
        registry.claim("x", 1)


def test_what_the_policy_refuses_is_not_built_again(
    registry: Registry,
    model: Callable[[bytes], Path],
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.publish("m", model(b"one"))
    built, build = [], type(registry._store)._built
    monkeypatch.setattr(
        type(registry._store), "_built", lambda *each: (built.append(each), build(*each))[1]
    )
    registry.resolve("m", 1)
    registry.quarantine(f"sha256:{signer.public_key.fingerprint}", "leaked")
    with pytest.raises(Revoked):
        registry.resolve("m", 1)
    assert len(built) == 2
