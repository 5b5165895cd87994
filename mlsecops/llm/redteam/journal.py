"""Which attempts are finished, so that an interrupted campaign goes on where it stopped?

One JSON line for each answered attempt, by its id. An attempt that ended in an error is not
finished and has none: it is made again by the next run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from mlsecops._journal import append_line, read_lines
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.answers import Answer
from mlsecops.llm.redteam.attempts import Attempt, Outcome
from mlsecops.llm.redteam.budget import Usage

try:
    import fcntl
except ImportError:  # a system without such locks: two writers are then the caller's business
    fcntl = None  # type: ignore[assignment] # as above

__all__ = ["Entry", "FuzzJournal", "alone"]

_KEPT: Final = 4000  # characters of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finished attempt.

    Attributes:
        outcome: Any but an error.
        usage: What it took.
    """

    outcome: Outcome
    usage: Usage


class FuzzJournal:
    """Finished attempts in a file.

    Args:
        path: The file; None keeps nothing.
        identity: Of the target; a journal of another one is refused.

    Raises:
        UsageError: The file cannot be used, is damaged, or is about something else.

    Attributes:
        finished: Id → what is known of it.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, identity: str) -> None:
        self._path = None if path is None else Path(path)
        self._target = hashlib.sha256(identity.encode()).hexdigest()
        self.finished: dict[str, Entry] = {}
        for value in [] if self._path is None else read_lines(self._path):
            name, entry = self._entry(value)
            if name in self.finished:
                raise self._damaged(f"attempt {name} stands in it twice")
            self.finished[name] = entry

    def require_known(self, attempts: Iterable[Attempt]) -> None:
        """Refuse a journal of attempts that are not made here.

        Raises:
            UsageError: It holds another one.
        """
        others = sorted(self.finished.keys() - {each.id for each in attempts})
        if others:
            raise UsageError(
                f"journal {self._path} holds attempt {others[0]!r}, which is not one of this "
                "campaign: give the same seed and classes and no fewer attempts, or name a new file"
            )

    def add(self, attempt: Attempt, outcome: Outcome, answer: Answer, usage: Usage) -> None:
        """Keep a finished attempt, with the beginning of the answer as evidence.

        Raises:
            UsageError: The file cannot be written.
        """
        self.finished[attempt.id] = Entry(outcome=outcome, usage=usage)
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

    def _entry(self, value: dict[str, Any]) -> tuple[str, Entry]:
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
                f"journal {self._path} is about another target, model or body: name a new file"
            )
        return str(name), Entry(outcome=outcome, usage=usage)

    def _damaged(self, why: str) -> UsageError:
        return UsageError(f"journal {self._path} is damaged: {why}")


@contextlib.contextmanager
def alone(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Keep other campaigns from writing to a journal meanwhile.

    Raises:
        UsageError: Somebody writes to it already, or it cannot be opened.
    """
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
                f"journal {path} is being written by another campaign: name another file"
            ) from error
        yield
