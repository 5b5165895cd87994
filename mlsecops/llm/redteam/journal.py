"""Journal of finished attempts, from which an interrupted campaign resumes.

It holds one JSON line for each answered attempt, with the start of the answer and the evidence. One
that ended in an error or was cut off is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from mlsecops._files import append_line, read_lines
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.attempts import Attempt, Outcome
from mlsecops.llm.redteam.budget import Usage

try:
    import fcntl
except ImportError:  # Windows: the caller must keep a second writer out
    fcntl = None  # type: ignore[assignment] # as above

KEPT: Final = 4000
"""Characters of an answer that are kept; chosen: longer ones are cut, their score is not."""
UNFINISHED: Final = frozenset({"error", "cut-off", "unable"})
"""Outcomes that a journal does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """Outcome of a finished attempt, the usage that it took, and what was answered."""

    outcome: Outcome
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    reason: str = ""
    answer: str = ""
    turn: int = 1


class FuzzJournal:
    """Finished attempts of one target, in a file or (`path` is None) in memory, by their ids.

    Raises:
        UsageError: The file is not readable, is damaged, or belongs to another target.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, identity: str) -> None:
        self._path = None if path is None else Path(path)
        self._target = hashlib.sha256(identity.encode()).hexdigest()
        self.finished: dict[str, JournalEntry] = {}
        for value in [] if self._path is None else read_lines(self._path):
            name, entry = self._entry(value)
            if name in self.finished:
                raise self._damaged(f"attempt {name} occurs more than once")
            self.finished[name] = entry

    def require_known(self, names: Iterable[str]) -> None:
        """Raise `UsageError` if a finished attempt does not belong to the campaign."""
        others = sorted(self.finished.keys() - set(names))
        if others:
            raise UsageError(
                f"journal {self._path}: expected attempts of this campaign, got {others[0]!r}; "
                "give the same seed and classes and no fewer attempts, or name a new file"
            )

    def add(self, name: str, attempt: Attempt, entry: JournalEntry) -> None:
        """Record a finished attempt under its name, with the start of its answer as evidence."""
        self.finished[name] = entry
        if self._path is None:
            return
        line = {
            "id": name,
            "class": attempt.family,
            "outcome": entry.outcome,
            "target": self._target,
            "requests": entry.usage.requests,
            "tokens": [entry.usage.prompt, entry.usage.answer],
            "needs": list(attempt.needs),
            "turn": entry.turn,
            "answer": entry.answer,
            "reason": entry.reason,
        }
        append_line(self._path, line)

    def _entry(self, value: dict[str, Any]) -> tuple[str, JournalEntry]:
        try:
            name, outcome, target = value["id"], value["outcome"], value["target"]
            prompt, answer = (int(each) for each in value["tokens"])
            usage = Usage(requests=int(value["requests"]), prompt=prompt, answer=answer)
            said, reason = str(value["answer"]), str(value.get("reason", ""))
            turn = int(value.get("turn", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(repr(error)) from error
        if outcome not in get_args(Outcome) or outcome in UNFINISHED:
            raise self._damaged(f"unknown outcome {outcome!r}")
        if target != self._target:
            raise UsageError(
                f"journal {self._path} belongs to another target, model, body, target_id or kind "
                "of campaign: name a new file"
            )
        entry = JournalEntry(outcome=outcome, usage=usage, reason=reason, answer=said, turn=turn)
        return str(name), entry

    def _damaged(self, why: str) -> UsageError:
        return UsageError(f"journal {self._path} is damaged: {why}")


@contextlib.contextmanager
def exclusive_lock(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Lock a journal; raises `UsageError` if another campaign holds the lock."""
    if path is None or fcntl is None:
        yield
        return
    try:
        stream = Path(path).open("ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"cannot use journal {path}: {error.strerror}") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"journal {path} is in use by another campaign: name another file"
            ) from error
        yield
