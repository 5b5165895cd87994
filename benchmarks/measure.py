"""Comparison of two ways of doing one thing: in turns, in one run, by the median.

Functions come in, a :class:`Comparison` goes out. The contestants take turns, so that a slow
moment of the machine hits all of them, and each round starts with another one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Contestants: TypeAlias = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What several ways of doing one thing took, round by round.

    Attributes:
        what: The job that all of them did.
        ours: Name of the contestant that is this library.
        seconds: Contestant to the seconds of each round; the same number of rounds for each.
    """

    what: str
    ours: str
    seconds: Mapping[str, tuple[float, ...]]

    @property
    def rounds(self) -> int:
        """How often each contestant ran."""
        return len(self.seconds[self.ours])

    def median(self, name: str) -> float:
        """Seconds of a contestant's middle round."""
        return statistics.median(self.seconds[name])

    def ratio(self, peer: str) -> float:
        """Our median over the peer's: below 1 we are faster."""
        return self.median(self.ours) / self.median(peer)

    def spread(self, peer: str) -> tuple[float, float]:
        """Smallest and largest ratio of a single round."""
        pairs = zip(self.seconds[self.ours], self.seconds[peer], strict=True)
        ratios = [mine / theirs for mine, theirs in pairs]
        return min(ratios), max(ratios)


def compare(
    what: str,
    contestants: Contestants,
    *,
    ours: str,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = True,
) -> Comparison:
    """Run contestants in turns, after a round that is not counted.

    Args:
        what: The job, in a few words.
        contestants: Name to a function that does the job once.
        ours: Which of them is this library.
        rounds: Counted rounds.
        clock: Seconds, rising.
        warm: Whether there is such a round; what runs for minutes can do without.
    """
    names = list(contestants)
    for name in names if warm else ():
        contestants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            contestants[name]()
            seconds[name].append(clock() - start)
    frozen = {name: tuple(values) for name, values in seconds.items()}
    return Comparison(what=what, ours=ours, seconds=frozen)


def table(comparisons: Iterable[Comparison]) -> str:
    """Comparisons as aligned text, one line for each peer."""
    head = ("job", "ours", "peer", "ours ms", "peer ms", "ratio", "rounds' ratios", "rounds")
    rows = [head]
    for each in comparisons:
        for peer in (name for name in each.seconds if name != each.ours):
            low, high = each.spread(peer)
            rows.append(
                (
                    each.what,
                    each.ours,
                    peer,
                    f"{each.median(each.ours) * 1e3:.4g}",
                    f"{each.median(peer) * 1e3:.4g}",
                    f"{each.ratio(peer):.2f}",
                    f"{low:.2f}–{high:.2f}",
                    str(each.rounds),
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
