"""What a remote model was asked and answered, kept so that an interrupted attack can go on.

One JSON line for each request. An answer is given out again once and no more: a model that answers
the same question in two ways is seen doing so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

__all__ = ["Journal", "key_of"]

SCHEMA: Final = "mlsecops.endpoint/1"


def key_of(row: Array) -> str:
    """Name of one question: the SHA-256 of an input's shape and float32 bytes."""
    return hashlib.sha256(f"{row.shape}".encode() + np.ascontiguousarray(row).tobytes()).hexdigest()


class Journal:
    """Answers that were paid for.

    Args:
        path: File to go on with, or to begin; None keeps the count alone.
        about: What the answers depend on (the address, the kind of scores); another is refused.

    Raises:
        UsageError: The file cannot be read or written, is damaged, or is about something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, about: str) -> None:
        self.requests = 0
        self._answers: defaultdict[str, deque[list[float]]] = defaultdict(deque)
        self._path = None if path is None else Path(path)
        if self._path is None:
            return
        head = {"schema": SCHEMA, "about": hashlib.sha256(about.encode()).hexdigest()}
        try:
            whole = self._whole_lines(self._path)
            self._read(whole, head)
            if not whole:
                self._write(head)
        except OSError as error:
            raise UsageError(f"cannot use journal {path}: {error.strerror}") from error

    def take(self, key: str) -> list[float] | None:
        """An answer to the question that was not given out yet."""
        waiting = self._answers.get(key)
        return waiting.popleft() if waiting else None

    def spend(self, keys: list[str] = [], scores: list[list[float]] = []) -> None:  # noqa: B006 - never changed
        """Count a request, and keep its answers; a failed request has none."""
        self.requests += 1
        if self._path is not None:
            self._write({"keys": keys, "scores": scores})

    def _whole_lines(self, path: Path) -> list[bytes]:
        """Lines of the file, from which an unfinished last one is cut off."""
        if not path.exists():
            return []
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with path.open("r+b") as stream:
                stream.truncate(end)
        return data[:end].splitlines()

    def _read(self, lines: list[bytes], head: dict[str, str]) -> None:
        try:
            values = [json.loads(line) for line in lines]
            for value in values[1:]:
                self._keep(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"journal {self._path} is damaged: {error!r}") from error
        if values and values[0] != head:
            raise UsageError(
                f"journal {self._path} is about another endpoint or kind of scores: name a new file"
            )

    def _keep(self, value: dict[str, Any]) -> None:
        for key, scores in zip(value["keys"], value["scores"], strict=True):
            self._answers[key].append([float(score) for score in scores])
        self.requests += 1

    def _write(self, value: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(value)}\n")
