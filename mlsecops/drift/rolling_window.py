"""Rolling window over recent rows, kept as mergeable slices without the rows themselves.

batch → Recent.add → slices → profiles of inputs and answers, confidence, outliers of the window
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.drift.histograms import Layout, Profile
from mlsecops.drift.inputs import Floats
from mlsecops.errors import UsageError

FEWEST_ROWS: Final = 64  # rows; chosen: tests of fewer find only gross drift
_MOST_ROWS: Final = 1_000_000  # rows; chosen: bounds the memory of the answers to 24 MB
_SLICES: Final = 4  # of a window; chosen: the window is at most a quarter too long


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Length of a rolling window: the last rows, and of them those of the last seconds.

    The window drops a quarter at a time, so that it may hold a quarter more.

    Attributes:
        rows: Number of rows, 64 to 1,000,000.
        seconds: Age of the oldest row, > 0.

    Raises:
        UsageError: A number is out of range.

    Examples:
        >>> Window(rows=1000, seconds=3600.0).rows
        1000
    """

    rows: int = 256
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if not FEWEST_ROWS <= self.rows <= _MOST_ROWS or not self.seconds > 0:
            raise UsageError(
                f"window: expected {FEWEST_ROWS} to {_MOST_ROWS} rows and more than 0 seconds, "
                f"got {self.rows} and {self.seconds}"
            )


@dataclass(slots=True, eq=False)
class _Slice:
    profile: Profile | None
    answers: Profile | None
    rows: int = 0
    flagged: int = 0
    read: int = 0
    sums: Floats = field(default_factory=lambda: np.zeros(4))
    began: float | None = None
    ended: float = 0.0


class Recent:
    """Rolling window over recent rows.

    Args:
        layout: Bins of the inputs, or None without a baseline.
        window: Length of the window.
        answers: Bins of the answers' features, or None if they are not known.
    """

    def __init__(
        self, layout: Layout | None, window: Window, answers: Layout | None = None
    ) -> None:
        self._layout = layout
        self._answers = answers
        self._window = window
        self._slices: deque[_Slice] = deque([self._slice()])

    @property
    def rows(self) -> int:
        """Rows in the window."""
        return sum(each.rows for each in self._slices)

    @property
    def read(self) -> int:
        """Rows in the window whose inputs could be read."""
        return sum(each.read for each in self._slices)

    @property
    def flagged(self) -> int:
        """Anomalous rows in the window."""
        return sum(each.flagged for each in self._slices)

    @property
    def answered(self) -> int:
        """Answers with probabilities in the window."""
        return int(sum(each.sums[0] for each in self._slices))

    @property
    def confidence(self) -> float | None:
        """Mean confidence in the window, or None without probabilities."""
        return self._mean(0, 1)

    @property
    def right(self) -> float | None:
        """Mean probability of a correct answer in the window, or None if unknown."""
        return self._mean(2, 3)

    def _mean(self, count: int, total: int) -> float | None:
        rows = sum(each.sums[count] for each in self._slices)
        return float(sum(each.sums[total] for each in self._slices) / rows) if rows else None

    def profile(self) -> Profile | None:
        """Distribution of the inputs in the window, or None without a baseline."""
        if self._layout is None:
            return None
        return _merged(self._layout, (each.profile for each in self._slices))

    def answer_profile(self) -> Profile | None:
        """Distribution of the answers in the window, or None if they are not known."""
        if self._answers is None:
            return None
        return _merged(self._answers, (each.answers for each in self._slices))

    def add(
        self,
        rows: int,
        *,
        now: float,
        profile: Profile | None,
        flagged: int,
        answers: Floats,
        answer_profile: Profile | None = None,
        read: int | None = None,
    ) -> bool:
        """Add a batch; returns whether a slice is complete, so that a comparison is worthwhile.

        `now` is the time of the newest row in seconds, `flagged` the number of anomalous rows,
        `read` of those whose inputs could be read, and `answers` are confidence, predicted class
        and probability of being correct `(m, 3)`.
        """
        last = self._slices[-1]
        last.began = now if last.began is None else last.began
        last.ended = now
        last.rows += rows
        last.read += rows if read is None else read
        last.flagged += flagged
        if len(answers):
            known = answers[~np.isnan(answers[:, 2]), 2]
            last.sums += (len(answers), answers[:, 0].sum(), len(known), known.sum())
        for own, new in ((last.profile, profile), (last.answers, answer_profile)):
            if own is not None and new is not None:
                own.add(new)
        self._forget(now)
        window = self._window
        if last.rows * _SLICES < window.rows and (now - last.began) * _SLICES < window.seconds:
            return False
        self._slices.append(self._slice())
        return True

    def shared(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The window as plain numbers and arrays, for `absorb` in another process."""
        facts: dict[str, Any] = {
            "rows": self.rows,
            "read": self.read,
            "flagged": self.flagged,
            "sums": np.sum([each.sums for each in self._slices], axis=0).tolist(),
        }
        arrays: dict[str, NDArray[Any]] = {}
        for name, profile in (("", self.profile()), ("answer ", self.answer_profile())):
            if profile is not None:
                facts[f"{name}count"] = profile.count
                arrays |= {f"{name}counts": profile.counts, f"{name}missing": profile.missing}
        return facts, arrays

    def absorb(self, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the window of another process with the same layout, as rows before its own.

        Raises:
            ValueError: It has other features, bins or sums.
        """
        new = self._slice()
        new.rows, new.flagged = int(facts["rows"]), int(facts["flagged"])
        new.read = int(facts["read"])
        new.sums = new.sums + np.array(facts["sums"], dtype=np.float64)
        for name, profile in (("", new.profile), ("answer ", new.answers)):
            if profile is None:
                continue
            if arrays[f"{name}counts"].shape != profile.counts.shape:
                raise ValueError("counts: expected the bins of the layout")
            profile.counts = profile.counts + arrays[f"{name}counts"]
            profile.missing = profile.missing + arrays[f"{name}missing"]
            profile.count = int(facts[f"{name}count"])
        self._slices.appendleft(new)

    def _forget(self, now: float) -> None:
        rows = self.rows
        while len(self._slices) > 1 and (
            rows - self._slices[0].rows >= self._window.rows
            or now - self._slices[0].ended > self._window.seconds
        ):
            rows -= self._slices.popleft().rows

    def _slice(self) -> _Slice:
        return _Slice(
            profile=None if self._layout is None else Profile(self._layout),
            answers=None if self._answers is None else Profile(self._answers),
        )


def _merged(layout: Layout, parts: Iterable[Profile | None]) -> Profile:
    merged = Profile(layout)
    for part in parts:
        if part is not None:
            merged.add(part)
    return merged
