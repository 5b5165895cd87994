"""Journal of finished attempts, from which an interrupted campaign resumes.

It holds one JSON line for each answered attempt. One that ended in an error is made again.
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
from mlsecops.llm.redteam.answers import Answer
from mlsecops.llm.redteam.attempts import Attempt, Outcome
from mlsecops.llm.redteam.budget import Usage

try:
    import fcntl
except ImportError:  # Windows: the caller must keep a second writer out
    fcntl = None  # type: ignore[assignment] # as above

_KEPT: Final = 4000  # characters of an answer; chosen: longer ones are cut, their score is not


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """Outcome of a finished attempt, never an error, and the usage that it took."""

    outcome: Outcome
    usage: Usage


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

    def require_known(self, attempts: Iterable[Attempt]) -> None:
        """Raise `UsageError` if a finished attempt does not belong to the campaign."""
        others = sorted(self.finished.keys() - {each.id for each in attempts})
        if others:
            raise UsageError(
                f"journal {self._path}: expected attempts of this campaign, got {others[0]!r}; "
                "give the same seed and classes and no fewer attempts, or name a new file"
            )

    def add(self, attempt: Attempt, outcome: Outcome, answer: Answer, usage: Usage) -> None:
        """Record a finished attempt, with the start of its answer as evidence."""
        self.finished[attempt.id] = JournalEntry(outcome=outcome, usage=usage)
        if self._path is None:
            return
        line = {
            "id": attempt.id,
            "class": attempt.family,
            "outcome": outcome,
            "target": self._target,
            "requests": usage.requests,
            "tokens": [usage.prompt, usage.answer],
            "answer": answer.text[:_KEPT],
        }
        if answer.tool_calls:
            line["tool_calls"] = [call.name[:_KEPT] for call in answer.tool_calls]
        append_line(self._path, line)

    def _entry(self, value: dict[str, Any]) -> tuple[str, JournalEntry]:
        try:
            name, outcome, target = value["id"], value["outcome"], value["target"]
            prompt, answer = (int(each) for each in value["tokens"])
            usage = Usage(requests=int(value["requests"]), prompt=prompt, answer=answer)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(repr(error)) from error
        if outcome not in get_args(Outcome) or outcome == "error":
            raise self._damaged(f"unknown outcome {outcome!r}")
        if target != self._target:
            raise UsageError(
                f"journal {self._path} belongs to another target, model or body: name a new file"
            )
        return str(name), JournalEntry(outcome=outcome, usage=usage)

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
