"""Witness of logs: cosigns what extends all that it has seen.

request body → old size, proof, checkpoint → checks → newest checkpoint stored → cosignature

Source: C2SP tlog-witness, "add-checkpoint".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mlsecops._choices import several
from mlsecops._repr import concise_repr
from mlsecops.audit.checkpoint import Checkpoint, LogSigner, authenticate, require_origin
from mlsecops.audit.objects import ObjectStore, Stored
from mlsecops.audit.tlog.cosignature import cosign, with_lines, witness_vkey
from mlsecops.audit.tlog.log_keys import LogVerifier
from mlsecops.errors import DigestMismatch, MalformedBundle, SignatureError
from mlsecops.provenance.merkle import Peaks, verify_consistency

__all__ = ["Witness", "WitnessAnswer"]

_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MOST_PROOF_LINES: Final = 63  # tlog-witness: the client must not send more
_MOST_STATE_BYTES: Final = 262_144  # bytes; chosen: the longest signed note
_MOST_NOTE: Final = 32_768  # characters; chosen: half of the longest, so that our own line fits
_TRIES: Final = 5  # of one request; chosen: as many requests for one log at once
MOST_REQUEST_BYTES: Final = 70_000  # bytes; the longest note, and 63 lines of base64


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """Answer to a request.

    Attributes:
        status: HTTP status.
        body: Text.
        content_type: Type of the body.
    """

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


@concise_repr("name")
class Witness:
    """Remembers the newest checkpoint of each log, and cosigns one that extends it.

    Args:
        store: Store of what it has seen; only witnesses of this name may write it.
        name: Its name, best a URL without scheme.
        signer: Its Ed25519 key, used for nothing else.
        logs: Verifier keys of the logs; a log may have several.
        clock: Seconds since 1970.

    Raises:
        UsageError: A key is wrong.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        name: str,
        signer: LogSigner,
        logs: Iterable[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = require_origin(name)
        self.vkey = witness_vkey(name, signer)
        self._store = store
        self._signer = signer
        self._clock = clock
        self._logs: dict[str, list[LogVerifier]] = {}
        for each in map(LogVerifier.parse, several("logs", logs, "verifier keys", str)):
            self._logs.setdefault(each.name, []).append(each)

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """Answer `add-checkpoint`.

        Args:
            body: Body of the request.

        Raises:
            OSError: The store cannot be read or written; nothing is cosigned.
        """
        try:
            old, proof, note = _parsed(body)
            origin = Checkpoint.parse(note).origin
        except MalformedBundle as error:
            return WitnessAnswer(400, f"{error}\n")
        keys = self._logs.get(origin)
        if keys is None:
            return WitnessAnswer(404, "unknown log\n")
        try:
            checkpoint = authenticate(note, keys)
        except SignatureError as error:
            return WitnessAnswer(403, f"{error}\n")
        if len(note) > _MOST_NOTE:  # anybody can add lines that no key is known of
            return WitnessAnswer(400, f"the checkpoint is longer than {_MOST_NOTE} characters\n")
        if old > checkpoint.size:
            return WitnessAnswer(400, "the old size is above the checkpoint's\n")
        for _ in range(_TRIES):
            answer = self._extend(checkpoint, old, proof)
            if answer is not None:
                return answer
        return WitnessAnswer(503, "too many requests for this log\n")

    def newest(self, origin_hash: str) -> WitnessAnswer:
        """Answer `GET <origin hash>/checkpoint`, for monitors."""
        known = None
        if re.fullmatch(r"[0-9a-f]{64}", origin_hash):
            known = self._store.get(f"{origin_hash}/checkpoint", most=_MOST_STATE_BYTES)
        if known is None:
            return WitnessAnswer(404, "no checkpoint\n")
        return WitnessAnswer(200, known.data.decode())

    def _extend(
        self, checkpoint: Checkpoint, old: int, proof: tuple[bytes, ...]
    ) -> WitnessAnswer | None:
        """The answer, or None where another request was faster."""
        key = f"{hashlib.sha256(checkpoint.origin.encode()).hexdigest()}/checkpoint"
        stored = self._store.get(key, most=_MOST_STATE_BYTES)
        known = None if stored is None else Checkpoint.parse(stored.data.decode())
        size = 0 if known is None else known.size
        root = Peaks.EMPTY.root if known is None else known.root
        if old != size:
            return WitnessAnswer(409, f"{size}\n", "text/x.tlog.size")
        try:
            _require_extension(checkpoint, size, root, proof)
        except DigestMismatch as error:
            return WitnessAnswer(422, f"{error}\n")
        line = cosign(checkpoint.note, name=self.name, signer=self._signer, time=int(self._clock()))
        if not self._kept(key, with_lines(checkpoint, [line]), stored):
            return None
        return WitnessAnswer(200, line)

    def _kept(self, key: str, checkpoint: Checkpoint, stored: Stored | None) -> bool:
        data = checkpoint.note.encode()
        if stored is None:
            return self._store.put_if_absent(key, data) is not None
        return self._store.put_if_unchanged(key, data, stored.tag) is not None


def _require_extension(
    checkpoint: Checkpoint, size: int, root: bytes, proof: tuple[bytes, ...]
) -> None:
    """Demand that a checkpoint extends the known one.

    Raises:
        DigestMismatch: It does not.
    """
    if checkpoint.size == 0 and checkpoint.root != Peaks.EMPTY.root:
        raise DigestMismatch("a checkpoint of no entries has another root than the empty tree's")
    verify_consistency(
        old_size=size, old_root=root, size=checkpoint.size, root=checkpoint.root, proof=proof
    )


def _parsed(body: bytes) -> tuple[int, tuple[bytes, ...], str]:
    """Old size, proof and checkpoint of a request.

    Raises:
        MalformedBundle: It is not as tlog-witness says.
    """
    try:
        head, blank, note = body.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise MalformedBundle("request: it is no text") from error
    first, *lines = head.split("\n")
    stated = _OLD.fullmatch(first)
    if len(body) > MOST_REQUEST_BYTES or not blank or stated is None:
        raise MalformedBundle("request: expected old size, proof, empty line and checkpoint")
    try:
        proof = tuple(base64.b64decode(line, validate=True) for line in lines)
    except (binascii.Error, ValueError) as error:
        raise MalformedBundle("request: a proof line is no base64") from error
    hash_bytes = len(Peaks.EMPTY.root)
    if len(proof) > _MOST_PROOF_LINES or any(len(step) != hash_bytes for step in proof):
        raise MalformedBundle("request: expected at most 63 hashes of 32 bytes")
    return int(stated[1]), proof, note
