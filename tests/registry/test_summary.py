"""Summaries: a long log is opened at the last one, and a wrong one is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlsecops.audit.objects import open_store
from mlsecops.errors import DigestMismatch, RegistryError, RollbackRefused
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.registry.state import SUMMARY_FORM
from mlsecops.signing import Signer, TrustPolicy
from tests.registry.stores import counted

Model = Callable[[bytes], Path]
NUMBERS = itertools.count()
SHORT = 40  # events between summaries here


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsecops.registry.event_log._EVERY", SHORT)
    monkeypatch.setattr("mlsecops.registry.event_log._WINDOW", 2 * SHORT)


@pytest.fixture
def long(signer: Signer, policy: TrustPolicy, model: Model) -> Registry:
    """A registry of two versions and 600 events."""
    registry = Registry(f"memory://summary-{next(NUMBERS)}", signer=signer, policy=policy)
    for weights in (b"one", b"two"):
        registry.publish("fraud", model(weights))
    registry.promote("fraud", 2, "serving")
    registry.raise_floor("fraud", 1)
    for number in range(590):
        registry.quarantine(Digest.of(b"%d" % number), f"reason {number}")
    return registry


def test_a_fresh_process_reads_the_last_summary_and_what_follows(
    long: Registry, policy: TrustPolicy
) -> None:
    with counted() as opened:
        fresh = Registry(long.location, policy=policy)
        assert fresh.isolated(Digest.of(b"17")) == "reason 17"
        assert fresh.versions() == long.versions()
        bundles = [key for _, key in opened[0].requests if "tile/entries" in key]
    assert len(bundles) < 3
    assert fresh.resolve("fraud", "serving").version == 2
    assert fresh.history("fraud") == long.history("fraud")
    assert fresh.recorded("quarantined") == long.recorded("quarantined")
    assert fresh.verify_log() == long.verify_log()
    long.quarantine("fraud", "poisoned")
    assert fresh.isolated(fresh.versions("fraud")[1].digest) == "poisoned"


def test_a_summary_that_is_missing_or_changed_is_not_needed(
    long: Registry, policy: TrustPolicy
) -> None:
    newest = long.recorded("summarised")[-1].detail["summary"]
    store = open_store(long.location)
    key = f"blobs/sha256/{newest[7:9]}/{newest[7:]}"
    stored = store.get(key, most=1 << 20)
    assert stored is not None
    forged = stored.data.replace(b"reason 17", b"reason 71")
    assert store.put_if_unchanged(key, forged, stored.tag) is not None
    fresh = Registry(long.location, policy=policy)
    assert fresh.isolated(Digest.of(b"17")) == "reason 17"


def test_a_wrong_summary_by_the_operator_is_refused_by_whoever_knows_better(
    long: Registry, signer: Signer, policy: TrustPolicy
) -> None:
    state = long._events.state()
    state.quarantined.pop(str(Digest.of(b"17")))
    wrong = long.keep(state.summary())
    state.quarantined[str(Digest.of(b"17"))] = "reason 17"
    event = {"type": "summarised", "summary": str(wrong), "form": SUMMARY_FORM, "at": "2200-01-01"}
    other = Registry(long.location, signer=signer, policy=policy)
    other._log.append([json.dumps(event).encode()], size=state.size)
    with pytest.raises(RegistryError, match="wrong one"):
        long.versions()


def test_a_change_before_the_summary_is_found_when_it_is_read(
    long: Registry, policy: TrustPolicy
) -> None:
    store = open_store(long.location)
    stored = store.get("log/tile/entries/000", most=1 << 20)
    assert stored is not None
    forged = stored.data.replace(b"reason 17", b"reason 71")
    store.put_if_unchanged("log/tile/entries/000", forged, stored.tag)
    fresh = Registry(long.location, policy=policy)
    assert fresh.isolated(Digest.of(b"17")) == "reason 17"
    for call in (lambda: fresh.history("fraud"), fresh.verify_log):
        with pytest.raises(DigestMismatch):
            call()


def test_a_pin_before_the_summary_holds(
    long: Registry, policy: TrustPolicy, signer: Signer
) -> None:
    pinned = long.verify_log()
    early = Registry(long.location, policy=policy, pinned=pinned)
    for number in range(600, 800):
        long.quarantine(Digest.of(b"%d" % number), "reason")
    fresh = Registry(long.location, policy=policy, pinned=pinned)
    assert fresh.isolated(Digest.of(b"700")) == early.isolated(Digest.of(b"700")) == "reason"
    foreign = Registry(
        f"memory://summary-{next(NUMBERS)}", signer=signer, policy=policy, origin=pinned.origin
    )
    for number in range(900):
        foreign.quarantine(Digest.of(b"%d" % number), "reason")
    with pytest.raises((DigestMismatch, RollbackRefused)):
        Registry(foreign.location, policy=policy, pinned=pinned).versions()
