"""Refusals of logs, each by its own message."""

from __future__ import annotations

import base64

import pytest

from mlsecops.audit.checkpoint import authenticate, seal
from mlsecops.audit.tlog.head import Head
from mlsecops.errors import MalformedBundle
from mlsecops.provenance.merkle import Peaks
from mlsecops.signing import Signer

SIGNER = Signer.generate("ed25519")
NOTE = seal(origin="example.org/log", size=0, root=Peaks.EMPTY.root, signer=SIGNER).note
SHORT = base64.b64encode(bytes(31)).decode()


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (NOTE + "x" * 2**16, "longer than 65536 characters"),
        (NOTE.replace("log", "l\tg"), "control characters"),
        (NOTE.replace("\n\n", "\n"), "expected text, a blank line and signature lines"),
        (NOTE.rstrip("\n"), "expected text, a blank line and signature lines"),
        (f"log\n0\n{SHORT}\n\n\N{EM DASH} log AAAA\n", "expected 32 bytes, got 31"),
        (NOTE + "- log AAAA\n", "not a signature line"),
        (NOTE + "\N{EM DASH} log\n", "not a signature line"),
    ],
)
def test_a_note_that_is_no_checkpoint_is_named(note: str, message: str) -> None:
    with pytest.raises(MalformedBundle, match=message):
        authenticate(note, [SIGNER.public_key])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\n\0", "it is no text"),
        (NOTE[:-1].encode(), "expected a checkpoint and entries"),
        (NOTE.encode() + b"\0\0\1x", "more entries than the log"),
    ],
)
def test_a_head_has_a_checkpoint_and_its_last_entries(data: bytes, message: str) -> None:
    assert Head.parse(NOTE.encode() + b"\0", where="head").entries == ()
    with pytest.raises(MalformedBundle, match=message):
        Head.parse(data, where="head")
