"""Hostile parties around witnesses: padded requests, answers about other texts, endless answers."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mlsecops.audit.checkpoint import signature_line
from mlsecops.audit.objects import MemoryStore
from mlsecops.audit.tlog import TileLog
from mlsecops.audit.tlog.cosignature import WitnessKey, witness_vkey
from mlsecops.audit.tlog.witness_client import request_body
from mlsecops.errors import MLSecOpsWarning
from mlsecops.signing import Signer
from tests.audit.tlog.test_witness import ORIGIN, checkpoint, new_witness, operator, proof

__all__ = ["operator"]

NUMBERS = itertools.count()


def log(operator: Signer, store: MemoryStore, url: str, key: str, quorum: int = 0) -> TileLog:
    return TileLog(
        store, prefix="log/", head="head", signer=operator, origin=ORIGIN,
        witnesses=[(url, key)], quorum=quorum,
    )  # fmt: skip


def test_lines_that_a_stranger_adds_do_not_stop_a_witness(operator: Signer) -> None:
    """A published checkpoint, padded to the longest that can be read, needs no key."""
    witness = new_witness(operator)
    assert witness.add_checkpoint(request_body(0, (), checkpoint(operator, 5))).status == 200
    body = request_body(5, (), checkpoint(operator, 5))
    line = signature_line("x", b"0000", bytes(64)).encode()
    room = 65_536 - len(checkpoint(operator, 5).note)
    padded = body + line * (room // len(line.decode()))
    assert witness.add_checkpoint(padded).status == 400
    longer = request_body(5, proof(5, 8), checkpoint(operator, 8))
    assert witness.add_checkpoint(longer).status == 200


def test_an_answer_about_another_text_is_not_published(
    operator: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once published, it would stop every reader who names the witness."""
    evil = Signer.generate("ed25519")
    key = witness_vkey("example.org/evil", evil)

    def answer(_: object, body: bytes) -> tuple[int, str]:
        text = body.decode().partition("\n\n")[2] + "\nmore\n"
        message = f"cosignature/v1\ntime 1\n{text}".encode()
        signed = (1).to_bytes(8, "big") + evil.sign(message)
        parsed = WitnessKey.parse(key)
        return 200, f"\nmore\n\n{signature_line(parsed.name, parsed.key_id, signed)}"

    monkeypatch.setattr("mlsecops.audit.tlog.witness_client.WitnessClient._post", answer)
    store = MemoryStore(f"hostile-{next(NUMBERS)}")
    with pytest.warns(MLSecOpsWarning, match="no signature line"):
        log(operator, store, "http://w", key).append([b"entry"], size=0)
    published = store.get("log/checkpoint", most=10_000)
    assert published is not None
    assert "example.org/evil" not in published.data.decode()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, "broken"), "it refuses, HTTP 500: 'broken'"),
        ((409, "nine"), "it refuses, HTTP 409: 'nine'"),
        ((409, "9" * 40), "it refuses, HTTP 409"),
        ((409, "9\n"), "it has cosigned 9 entries of this log, more than 1"),
        ((409, "0\n"), "other writers were faster"),
    ],
)
def test_a_refusal_is_told(
    operator: Signer, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], message: str
) -> None:
    monkeypatch.setattr("mlsecops.audit.tlog.witness_client.WitnessClient._post", lambda *_: answer)
    key = witness_vkey("example.org/w", Signer.generate("ed25519"))
    with pytest.warns(MLSecOpsWarning, match=message):
        log(operator, MemoryStore(f"hostile-{next(NUMBERS)}"), "http://w", key).append(
            [b"entry"], size=0
        )


@contextmanager
def endless() -> Iterator[tuple[str, threading.Event]]:
    """A server whose answer never ends, until the event is set or some seconds have passed."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                for _ in range(200):
                    if over.wait(0.02):
                        return
                    connection.sendall(b"x")
            over.set()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", over
        over.set()
        thread.join()


def test_an_endless_answer_does_not_hold_a_writer(
    operator: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.audit.tlog.witness_client._PATIENCE", 0.2)
    key = witness_vkey("example.org/slow", Signer.generate("ed25519"))
    with endless() as (url, over):
        with pytest.warns(MLSecOpsWarning, match=r"no whole answer in 0.2 s"):
            log(operator, MemoryStore(f"hostile-{next(NUMBERS)}"), url, key).append([b"a"], size=0)
        assert not over.is_set()
