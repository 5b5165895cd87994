"""Client of witnesses: checkpoint and consistency proof → cosignatures.

Source: C2SP tlog-witness, "add-checkpoint".
"""

from __future__ import annotations

import base64
import http.client
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlsecops._addresses import public_address
from mlsecops.audit.checkpoint import Checkpoint
from mlsecops.audit.tlog.cosignature import WitnessKey, cosigners, require_quorum, with_lines
from mlsecops.audit.tlog.reader import Trust
from mlsecops.errors import EvidenceError, MLSecOpsWarning, ThresholdNotMet

__all__ = ["WitnessClient", "answers", "gathered", "request_body"]

_TIMEOUT: Final = 10.0  # seconds between two parts of an answer; chosen: it writes one small file
_PATIENCE: Final = 30.0  # seconds for all witnesses; chosen: three slow answers
_MOST_BYTES: Final = 65_536  # bytes of an answer; chosen: hundreds of signature lines
_TRIES: Final = 4  # requests; chosen: another writer may submit a checkpoint meanwhile
_CONFLICT: Final = 409  # HTTP status; tlog-witness: the witness knows another size
_OK: Final = 200  # HTTP status
_MOST_DIGITS: Final = 19  # of a size; those of 2**63, C2SP tlog-checkpoint

Proof = Callable[[int], tuple[bytes, ...]]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(slots=True)
class WitnessClient:
    """A witness and what it has cosigned, as far as this process knows.

    Attributes:
        url: Its submission prefix.
        key: Its key.
        known: Size of the log that it knows.
    """

    url: str
    key: WitnessKey
    known: int = field(default=0)

    def __post_init__(self) -> None:
        public_address(self.url)

    def cosignature(self, checkpoint: Checkpoint, proof: Proof) -> str:
        """The witness's signature line on a checkpoint.

        Args:
            checkpoint: Signed by the log.
            proof: Returns the consistency proof from an older size.

        Raises:
            EvidenceError: The witness does not answer, or refuses.
            SignatureInvalid: Its cosignature does not match.
        """
        for _ in range(_TRIES):
            old = min(self.known, checkpoint.size)
            status, answer = self._post(request_body(old, proof(old), checkpoint))
            if status == _OK:
                if "\n\n" in f"\n{answer}":  # its lines would be of another text
                    raise EvidenceError(f"{self._name}: its answer is no signature line")
                found = cosigners(checkpoint.note + answer, [self.key])
                if self.key not in found:
                    raise EvidenceError(f"{self._name}: its answer has no cosignature of its key")
                self.known = checkpoint.size
                return found[self.key]
            size = answer.strip()
            if status != _CONFLICT or not (
                size.isascii() and size.isdigit() and len(size) <= _MOST_DIGITS
            ):
                raise EvidenceError(f"{self._name}: it refuses, HTTP {status}: {answer[:200]!r}")
            self.known = int(size)
            if self.known > checkpoint.size:
                raise EvidenceError(
                    f"{self._name}: it has cosigned {size} entries of this log, more than "
                    f"{checkpoint.size}; an older copy of the log was restored, or it was forked"
                )
        raise EvidenceError(f"{self._name}: other writers were faster {_TRIES} times; try again")

    @property
    def _name(self) -> str:
        return f"witness {self.key.name} at {public_address(self.url)}"

    def _post(self, body: bytes) -> tuple[int, str]:
        url = f"{self.url.rstrip('/')}/add-checkpoint"
        request = urllib.request.Request(url, data=body, method="POST")  # noqa: S310 - checked
        request.add_header("Content-Type", "text/plain; charset=utf-8")
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=_TIMEOUT) as response:
                return response.status, _text(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _text(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EvidenceError(f"{self._name}: no answer: {error}") from error


def request_body(old: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    """Body of `add-checkpoint`.

    Args:
        old: Size that the witness knows.
        proof: Consistency proof from it.
        checkpoint: The checkpoint.
    """
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof)]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode() + checkpoint.note.encode()


def answers(
    checkpoint: Checkpoint, witnesses: Sequence[WitnessClient], *, proof: Proof, patience: float
) -> tuple[list[str], list[str]]:
    """Signature lines of witnesses, asked at once, and why others gave none.

    Args:
        checkpoint: Signed by the log.
        witnesses: The witnesses.
        proof: Returns the consistency proof from an older size.
        patience: Seconds for all of them.
    """
    lines: list[str] = []
    refusals: list[str] = []

    def ask(witness: WitnessClient) -> None:
        try:
            lines.append(witness.cosignature(checkpoint, proof))
        except Exception as error:  # noqa: BLE001 - one witness must not stop the others
            refusals.append(str(error))

    threads = [threading.Thread(target=ask, args=(each,), daemon=True) for each in witnesses]
    for thread in threads:
        thread.start()
    limit = time.monotonic() + patience
    for thread, witness in zip(threads, witnesses, strict=True):
        thread.join(max(0.0, limit - time.monotonic()))
        if thread.is_alive():
            refusals.append(f"witness {witness.key.name}: no whole answer in {patience:g} s")
    return [*lines], [*refusals]


def gathered(
    checkpoint: Checkpoint, witnesses: Sequence[WitnessClient], *, trust: Trust, proof: Proof
) -> Checkpoint:
    """The checkpoint with the cosignatures of all witnesses that answer.

    Args:
        checkpoint: Signed by the log; cosignatures that it has are kept.
        witnesses: The witnesses.
        trust: The quorum that is demanded.
        proof: Returns the consistency proof from an older size.

    Raises:
        ThresholdNotMet: Fewer than the quorum answered.

    Warns:
        MLSecOpsWarning: One did not answer, though enough did.
    """
    held = cosigners(checkpoint.note, [each.key for each in witnesses])
    asked = [each for each in witnesses if each.key not in held]
    if not asked:
        return checkpoint
    lines, refusals = answers(checkpoint, asked, proof=proof, patience=_PATIENCE)
    cosigned = with_lines(checkpoint, sorted(lines))
    try:
        require_quorum(cosigned, [each.key for each in witnesses], trust.quorum)
    except ThresholdNotMet as error:
        raise ThresholdNotMet(
            f"{error}; the entry is committed and is published once they answer: repeat the call "
            f"({'; '.join(refusals)})"
        ) from error
    if refusals:
        warnings.warn("; ".join(refusals), MLSecOpsWarning, stacklevel=2)
    return cosigned


def _text(response: Any) -> str:
    return str(response.read(_MOST_BYTES).decode("utf-8", "replace"))
