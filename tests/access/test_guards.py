"""Guarded file systems and stores: each read decided, audited, and recorded in the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import fsspec
import obstore
import pandas as pd
import pytest

from mlsecops.access import (
    AccessPolicy,
    DecisionLog,
    GuardedStore,
    Rule,
    acting_as,
    guard_filesystem,
)
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.provenance import training_run
from mlsecops.signing import Signer

POLICY = AccessPolicy(
    [
        Rule(subject="ann", action="dataset:*", resource="lake/payments/**"),
        Rule(subject="bob", action="dataset:read", resource="lake/**"),
        Rule(subject="*", action="*", resource="lake/payments/hr/**", effect="deny"),
    ]
)


class Sink:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.full = False

    def append(self, event: Any) -> None:
        if self.full:
            raise OSError("disk full")
        self.events.append(dict(event))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def below() -> Any:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe({"/lake/payments/2026.csv": b"a,b\n1,2\n", "/lake/payments/hr/2026.csv": b"secret"})
    return memory


def test_a_key_that_no_file_can_be_named_by_is_recorded(below: Any) -> None:
    key = f"/lake/payments/{'k' * 900}"
    below.pipe(key, b"rows")
    with training_run("fraud") as run:
        assert guard_filesystem(below, POLICY, subject="ann").cat(key) == b"rows"
    assert [each.digest.hex for each in run.datasets[0]] == [hashlib.sha256(b"rows").hexdigest()]


def test_pandas_reads_what_the_policy_allows(below: Any, sink: Sink) -> None:
    lake = guard_filesystem(below, POLICY, subject="ann", audit=sink)
    with lake.open("lake/payments/2026.csv") as stream:
        assert pd.read_csv(stream).to_dict("list") == {"a": [1], "b": [2]}
    for spelling in ("lake/payments/hr/2026.csv", "/lake/payments//hr/2026.csv", "lake/x"):
        with pytest.raises(AccessDenied):
            lake.cat(spelling)
    assert [(each["allowed"], each["resource"]) for each in sink.events[:2]] == [
        (True, "lake/payments/2026.csv"), (False, "lake/payments/hr/2026.csv"),
    ]  # fmt: skip


def test_every_way_to_change_data_is_decided(below: Any) -> None:
    lake = guard_filesystem(below, POLICY, subject="bob")
    known = "lake/payments/2026.csv"
    before = dict(below.store)
    for attempt in (
        lambda: lake.pipe(known, b"x"),
        lambda: lake.rm(known),
        lambda: lake.rm_file(known),
        lambda: lake.mv(known, "lake/other"),
        lambda: lake.cp_file(known, "lake/other"),
        lambda: lake.open(known, "ab"),
        lambda: lake.open("lake/new", "wb"),
        lambda: lake.touch("lake/new"),
        lambda: lake.mkdir("lake/folder"),
        lambda: lake.makedirs("lake/folder"),
        lambda: lake.rmdir("lake/payments"),
    ):
        with pytest.raises(AccessDenied, match="dataset:write"):
            attempt()
    assert dict(below.store) == before
    with pytest.raises(AccessDenied):
        guard_filesystem(below, POLICY, subject="eve").ls("lake/payments")
    ann = guard_filesystem(below, POLICY, subject="ann")
    ann.pipe("lake/payments/new.csv", b"x")
    assert ann.cat("lake/payments/new.csv") == b"x"


def test_a_run_records_what_it_read(below: Any, sink: Sink) -> None:
    lake = guard_filesystem(below, POLICY, audit=sink)
    with acting_as("ann"), training_run("fraud") as run:
        for _ in range(2):
            assert lake.cat("lake/payments/2026.csv") == b"a,b\n1,2\n"
    [data] = run.datasets
    digest = hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert data.name == "lake/payments/2026.csv"
    assert [entry.digest.hex for entry in data] == [digest]
    read = [each for each in sink.events if each["type"] == "read"]
    assert [(each["resource"], each["bytes"]) for each in read] == [
        ("lake/payments/2026.csv", 8)
    ] * 2


def test_a_decision_that_cannot_be_recorded_is_a_denial(below: Any, sink: Sink) -> None:
    sink.full = True
    with pytest.raises(AccessDenied, match="disk full"):
        guard_filesystem(below, POLICY, subject="ann", audit=sink).cat("lake/payments/2026.csv")


def test_a_store_is_guarded_like_a_file_system(sink: Sink) -> None:
    store = obstore.store.MemoryStore()
    obstore.put(store, "payments/2026", b"rows")
    guarded = GuardedStore(store, POLICY, prefix="lake", audit=sink)
    with acting_as("ann"), training_run("fraud") as run:
        assert guarded.get("payments/2026") == b"rows"
        assert guarded.get_range("payments/2026", start=1, length=2) == b"ow"
        guarded.put("payments/2027", b"more")
        with pytest.raises(AccessDenied):
            guarded.list()
        with pytest.raises(AccessDenied):
            guarded.get("payments/hr/2026")
    assert [data.name for data in run.datasets] == ["lake/payments/2026"]
    with acting_as("bob"):
        assert guarded.list("payments") == ["payments/2026", "payments/2027"]
        with pytest.raises(AccessDenied):
            guarded.delete("payments/2026")
    with pytest.raises(UsageError, match="store"):
        GuardedStore("s3://lake", POLICY)


def test_decisions_in_batches_are_a_log_that_verifies(tmp_path: Path, below: Any) -> None:
    signer = Signer.generate("ed25519")
    with DecisionLog(tmp_path / "log", signer=signer, delay=0.01) as log:
        lake = guard_filesystem(below, POLICY, subject="ann", audit=log)
        for _ in range(300):
            lake.cat("lake/payments/2026.csv")
    reader = DecisionLog(tmp_path / "log", keys=[signer.public_key])
    assert reader.verify().size == 300
    assert {each["resource"] for each in reader.events()} == {"lake/payments/2026.csv"}
    with pytest.raises(UsageError, match="signer"):
        reader.append({})
