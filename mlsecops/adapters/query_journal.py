"""Query journal: the answers of a remote model, for continuing an interrupted attack.

request, scores → one JSON line → `Journal.take`

Each answer is returned once only, so that a model that answers a query in two ways is noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._files import append_line, read_lines
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

SCHEMA: Final = "mlsecops.endpoint/1"


def key_of(row: Array) -> str:
    """Key of a query: the SHA-256 of an input's shape and float32 bytes."""
    return hashlib.sha256(f"{row.shape}".encode() + np.ascontiguousarray(row).tobytes()).hexdigest()


class Journal:
    """Answers of earlier requests.

    Args:
        path: File to continue or to create; None keeps only the number of requests.
        about: What the answers depend on (address, kind of scores); any other file is refused.

    Examples:
        >>> journal = Journal("answers.jsonl", about="https://model.example")
        >>> journal.spend(["a1"], [[0.2, 0.8]])
        >>> Journal("answers.jsonl", about="https://model.example").take("a1")
        [0.2, 0.8]
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, about: str) -> None:
        self.requests = 0
        self._answers: defaultdict[str, deque[list[float]]] = defaultdict(deque)
        self._path = None if path is None else Path(path)
        if self._path is not None:
            head = {"schema": SCHEMA, "about": hashlib.sha256(about.encode()).hexdigest()}
            values = read_lines(self._path)
            self._read(values, head)
            if not values:
                append_line(self._path, head)

    def take(self, key: str) -> list[float] | None:
        """An answer to the query that was not returned before, or None."""
        waiting = self._answers.get(key)
        return waiting.popleft() if waiting else None

    def spend(self, keys: list[str] = [], scores: list[list[float]] = []) -> None:  # noqa: B006 - never changed
        """Count a request and keep its answers; a failed request has none."""
        self.requests += 1
        if self._path is not None:
            append_line(self._path, {"keys": keys, "scores": scores})

    def _read(self, values: list[dict[str, Any]], head: dict[str, str]) -> None:
        try:
            for value in values[1:]:
                for key, scores in zip(value["keys"], value["scores"], strict=True):
                    self._answers[key].append([float(score) for score in scores])
                self.requests += 1
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"journal {self._path} is damaged: {error!r}") from error
        if values and values[0] != head:
            raise UsageError(
                f"journal {self._path} is about another endpoint or kind of scores; use a new file"
            )
