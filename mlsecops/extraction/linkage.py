"""Which clients resemble each other in what is unusual about them: a hint at one thief, many names.

evidence of benign clients → Resemblances; trails of live clients → groups, by channel

A thief who spreads over many clients keeps each of them below its alarm level, but all of them lean
the same way. A client leans in a channel if its mean evidence there is clearly above what benign
clients have. How many of them lean by chance is known from calibration; a group is reported if more
do than a Chernoff bound allows.

It is a hint and no proof: clients of one kind that calibration did not see lean together too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlsecops.extraction.client_history import Trail

__all__ = ["Resemblance", "Resemblances"]

Floats = NDArray[np.float64]

_FEWEST_QUERIES: Final = 8
_FEWEST_CLIENTS: Final = 3
_LEAN: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Resemblance:
    """Clients that lean the same way.

    Attributes:
        clients: Their names; None is calls without a client.
        channel: What is unusual about their queries.
        share: Their share of the clients that sent enough queries, in [0, 1].
        expected: The share that would lean that way if all were benign, in (0, 1).
        chance: Bound on the probability of as many or more benign ones, in [0, 1].
    """

    clients: tuple[str | None, ...]
    channel: str
    share: float
    expected: float
    chance: float


class Resemblances:
    """Knows how many benign clients lean in each channel.

    Args:
        benign: Evidence of each benign client `(m, 10)`.
        channels: Names of the channels.
    """

    def __init__(self, benign: Sequence[Floats], *, channels: Sequence[str]) -> None:
        # The first few queries only: a longer mean varies less, so that fewer lean by chance.
        leaning = [_leans(each[:_FEWEST_QUERIES].sum(axis=0), _FEWEST_QUERIES) for each in benign]
        self._expected = (np.sum(leaning, axis=0) + 1) / (len(benign) + 1)
        self._channels = tuple(channels)

    def find(
        self, trails: Iterable[tuple[str | None, Trail]], *, chance: float
    ) -> tuple[Resemblance, ...]:
        """Groups that are too large for chance.

        Args:
            trails: Clients and what is remembered of them.
            chance: Probability of any group among benign clients, in (0, 1).
        """
        known = [
            (client, _leans(trail.totals, trail.queries))
            for client, trail in trails
            if trail.queries >= _FEWEST_QUERIES
        ]
        groups = (self._group(known, channel) for channel in range(len(self._channels)))
        limit = chance / len(self._channels)
        return tuple(
            each for each in groups if len(each.clients) >= _FEWEST_CLIENTS and each.chance < limit
        )

    def _group(
        self, known: Sequence[tuple[str | None, NDArray[np.bool_]]], channel: int
    ) -> Resemblance:
        clients = tuple(client for client, leans in known if leans[channel])
        share = len(clients) / max(len(known), 1)
        expected = float(self._expected[channel])
        return Resemblance(
            clients=clients,
            channel=self._channels[channel],
            share=share,
            expected=expected,
            chance=_chernoff(share, expected, len(known)),
        )


def _leans(totals: Floats, queries: int) -> NDArray[np.bool_]:
    return np.asarray(totals > _LEAN * queries)


def _chernoff(share: float, expected: float, n: int) -> float:
    """Bound on the probability that a share of n or more is seen where another is expected.

    Source: Hoeffding 1963, theorem 1, equation 2.1.
    """
    if share <= expected:
        return 1.0
    divergence = share * math.log(share / expected)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - expected))
    return math.exp(-n * divergence)
