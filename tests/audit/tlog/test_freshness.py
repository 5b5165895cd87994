"""Witnesses that a fresh process asks whether the log is the newest."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlsecops.audit.checkpoint import vkey
from mlsecops.audit.objects import FolderStore, MemoryStore
from mlsecops.audit.tlog import Witness
from mlsecops.audit.tlog.witness_client import WitnessClient
from mlsecops.errors import EvidenceError, MLSecOpsWarning, RollbackRefused
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy

ORIGIN = "example.org/log"
BAD = Digest.of(b"bad")
NUMBERS = itertools.count()
Answer = Callable[[bytes], tuple[int, str]]


class Fleet:
    """An operator, his registry, and witnesses that answer without a network."""

    writer: Registry

    def __init__(self, place: Path) -> None:
        self.operator = Signer.generate("ed25519")
        self.place = place
        self.now = time.time()
        self.answers: dict[str, Answer] = {}
        self.witnesses = [self._witness(f"example.org/w{number}") for number in (1, 2)]

    def _witness(self, name: str) -> tuple[str, str]:
        witness = Witness(
            MemoryStore(f"fresh-{next(NUMBERS)}"),
            name=name,
            signer=Signer.generate("ed25519"),
            logs=[vkey(ORIGIN, self.operator.public_key) or ""],
            clock=lambda: self.now,
        )

        def answer(body: bytes) -> tuple[int, str]:
            given = witness.add_checkpoint(body)
            return given.status, given.body

        self.answers[f"http://{name}"] = answer
        return f"http://{name}", witness.vkey

    def asked(self, client: WitnessClient, body: bytes) -> tuple[int, str]:
        """In place of the request."""
        if client.url not in self.answers:
            raise EvidenceError(f"{client.url}: no answer")
        return self.answers[client.url](body)

    def opened(self, folder: str, *, quorum: int = 1, signer: Signer | None = None) -> Registry:
        """The registry, as a fresh process opens it."""
        policy = TrustPolicy(keys=[self.operator.public_key])
        options: dict[str, Any] = {"witnesses": self.witnesses, "origin": ORIGIN}
        return Registry(self.place / folder, policy=policy, signer=signer, quorum=quorum, **options)

    def copied(self) -> None:
        """Keep a copy of the registry under another name."""
        shutil.copytree(self.place / "new", self.place / "old")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet(tmp_path)

    def post(client: WitnessClient, body: bytes) -> tuple[int, str]:
        return made.asked(client, body)

    monkeypatch.setattr(WitnessClient, "_post", post)
    monkeypatch.setattr("mlsecops.audit.tlog.reader._PUBLICATION", 0.3)
    made.writer = made.opened("new", signer=made.operator)
    return made


@pytest.mark.parametrize("quorum", [1, 2])
def test_an_older_copy_with_its_cosignatures_is_refused(fleet: Fleet, quorum: int) -> None:
    fleet.copied()
    fleet.writer.quarantine(BAD, "poisoned")
    assert fleet.opened("new", quorum=quorum).isolated(BAD) == "poisoned"
    reader = fleet.opened("old", quorum=quorum)
    assert "an older copy" in str(reader.isolated(BAD))
    with pytest.raises(RollbackRefused, match="expected 2 entries"):
        reader.versions()
    with pytest.raises(RollbackRefused, match="expected 2 entries"):
        fleet.opened("old", quorum=quorum, signer=fleet.operator).versions()


def test_one_witness_that_knows_more_is_enough(fleet: Fleet) -> None:
    fleet.copied()
    away = fleet.answers.pop("http://example.org/w2")
    with pytest.warns(MLSecOpsWarning, match="no answer"):
        fleet.writer.quarantine(BAD, "poisoned")
    fleet.answers["http://example.org/w2"] = away
    with pytest.raises(RollbackRefused):
        fleet.opened("old").versions()


def test_a_witness_that_was_away_is_told_of_the_log(fleet: Fleet) -> None:
    away = fleet.answers.pop("http://example.org/w2")
    with pytest.warns(MLSecOpsWarning, match="no answer"):
        fleet.writer.quarantine(BAD, "poisoned")
    fleet.answers["http://example.org/w2"] = away
    del fleet.answers["http://example.org/w1"]
    assert fleet.opened("new").isolated(BAD) == "poisoned"


def test_witnesses_that_do_not_answer_are_named(fleet: Fleet) -> None:
    fleet.answers.clear()
    with pytest.warns(MLSecOpsWarning, match="it may be an older copy.*no answer"):
        assert fleet.opened("new").versions() == ()


def test_an_answer_of_another_day_does_not_count(fleet: Fleet) -> None:
    fleet.now -= 86_400
    with pytest.warns(MLSecOpsWarning, match="0 said so"):
        fleet.opened("new").versions()
    fleet.now += 86_400
    fleet.opened("new").versions()


def test_a_process_asks_once(fleet: Fleet) -> None:
    reader = fleet.opened("new")
    reader.versions()
    fleet.answers.clear()
    reader.versions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MLSecOpsWarning)
        fleet.opened("new", quorum=0).versions()


def test_what_a_killed_writer_had_cosigned_waits_for_the_next_writer(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FolderStore.put_if_unchanged

    def killed(store: FolderStore, key: str, *rest: Any, **named: Any) -> str | None:
        if key.endswith("checkpoint"):
            raise KeyboardInterrupt
        return put(store, key, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "put_if_unchanged", killed)
        with pytest.raises(KeyboardInterrupt):
            fleet.writer.quarantine(BAD, "poisoned")
    with pytest.raises(RollbackRefused, match="a writer ended before it published"):
        fleet.opened("new").versions()
    assert fleet.opened("new", signer=fleet.operator).isolated(BAD) == "poisoned"
    assert fleet.opened("new").isolated(BAD) == "poisoned"


def test_a_reader_waits_while_a_writer_publishes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, cosigned, asked = FolderStore.put_if_unchanged, threading.Event(), threading.Event()
    monkeypatch.setattr("mlsecops.audit.tlog.reader._PUBLICATION", 30.0)

    def slow(store: FolderStore, key: str, *rest: Any, **named: Any) -> str | None:
        if key.endswith("checkpoint"):
            cosigned.set()
            asked.wait(30)
        return put(store, key, *rest, **named)

    monkeypatch.setattr(FolderStore, "put_if_unchanged", slow)
    writer = threading.Thread(target=fleet.writer.quarantine, args=(BAD, "poisoned"))
    writer.start()
    cosigned.wait(30)
    monkeypatch.setattr("mlsecops.audit.tlog.reader.time.sleep", lambda _: asked.set())
    assert fleet.opened("new").isolated(BAD) == "poisoned"
    writer.join()
