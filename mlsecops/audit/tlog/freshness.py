"""Freshness of a checkpoint: what witnesses know of its log now.

first checkpoint of a process → witnesses are asked to cosign it again → size that they know

The cosignatures that stand in a checkpoint say that its log was not forked, not that it is the
newest: an older copy, put back, has them too. A witness that has cosigned more entries refuses.

Source: C2SP tlog-witness, "add-checkpoint" (the same checkpoint may be submitted again).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mlsecops.audit.checkpoint import Checkpoint, signatures_of
from mlsecops.audit.tlog.cosignature import WitnessKey
from mlsecops.audit.tlog.witness_client import Proof, WitnessClient, answers
from mlsecops.errors import MLSecOpsWarning

__all__ = ["newest_known"]

_PATIENCE: Final = 5.0  # seconds for all witnesses; chosen: a process waits for them once
_RECENT: Final = 600.0  # seconds between our clock and a witness's; chosen: clocks without NTP


def newest_known(
    checkpoint: Checkpoint,
    witnesses: Sequence[WitnessClient],
    *,
    quorum: int,
    proof: Proof,
    clock: Callable[[], float] = time.time,
) -> int:
    """Number of entries of the log that witnesses know of; the checkpoint's, or more.

    Args:
        checkpoint: Signed by the log.
        witnesses: The witnesses.
        quorum: Number of them that should answer.
        proof: Returns the consistency proof from an older size.
        clock: Seconds since 1970.

    Warns:
        MLSecOpsWarning: Fewer answered, so an older copy of the log goes unnoticed.
    """
    asked = [replace(each, known=checkpoint.size) for each in witnesses]
    lines, refusals = answers(checkpoint, asked, proof=proof, patience=_PATIENCE)
    known = max(each.known for each in asked)
    if known > checkpoint.size:
        return known
    keys = {(each.key.name, each.key.key_id): each.key for each in witnesses}
    now = clock()
    recent = {key.public for key, at in _times(checkpoint, lines, keys) if abs(now - at) <= _RECENT}
    if len(recent) < quorum:
        warnings.warn(
            f"log {checkpoint.origin} at size {checkpoint.size}: expected {quorum} witnesses to "
            f"know no more entries now, {len(recent)} said so: it may be an older copy; restore "
            f"access to them, or pin a checkpoint ({'; '.join(refusals) or 'their clocks differ'})",
            MLSecOpsWarning,
            stacklevel=2,
        )
    return checkpoint.size


def _times(
    checkpoint: Checkpoint, lines: Sequence[str], keys: dict[tuple[str, bytes], WitnessKey]
) -> list[tuple[WitnessKey, int]]:
    """Witnesses of valid signature lines, each with its time."""
    text, _ = signatures_of(checkpoint.note)
    _, found = signatures_of(f"{text}\n{''.join(lines)}") if lines else ("", ())
    return [
        (key, key.time_of(text, signature))
        for name, identifier, signature in found
        if (key := keys.get((name, identifier))) is not None
    ]
