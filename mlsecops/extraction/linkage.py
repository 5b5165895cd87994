"""Client linkage: groups of clients with the same kind of evidence, a hint at one attacker.

    evidence of benign clients → Linkage; histories of live clients → groups by channel

An attacker with many accounts keeps each below its alarm level, but all of them deviate in the same
channel. A client deviates in a channel if its mean evidence there is clearly above that of benign
clients. Calibration gives the share that deviates by chance; a group is reported if it is larger
than a Chernoff bound allows. A group is a hint and no proof: benign clients of a kind that
calibration did not see deviate together too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlsecops._repr import concise_repr
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.extraction.client_history import ClientHistory

_FEWEST_QUERIES: Final = 8  # queries; chosen: a mean of fewer deviates by chance
_FEWEST_CLIENTS: Final = 3  # clients; chosen: two alike are no group
_DEVIATION: Final = 0.5  # nats a query; chosen: the mean above which a client deviates


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Resemblance:
    """Clients that deviate in the same channel.

    Attributes:
        clients: Their names; None is calls without a client.
        channel: Name of the channel.
        share: Their share of the clients that sent enough queries, in [0, 1].
        expected: Share that would deviate so if all were benign, in (0, 1).
        chance: Bound on the probability of as many or more benign ones, in [0, 1].
    """

    clients: tuple[str | None, ...]
    channel: str
    share: float
    expected: float
    chance: float


class Linkage:
    """Groups of clients that are larger than chance explains, by the evidence of benign ones."""

    def __init__(self, benign: Sequence[Floats], *, channels: Sequence[str]) -> None:
        # The first few queries only: a longer mean varies less, so that fewer deviate by chance.
        hits = [_deviates(each[:_FEWEST_QUERIES].sum(axis=0), _FEWEST_QUERIES) for each in benign]
        self._expected = (np.sum(hits, axis=0) + 1) / (len(benign) + 1)
        self._channels = tuple(channels)

    def find(
        self, histories: Iterable[tuple[str | None, ClientHistory]], *, chance: float
    ) -> tuple[Resemblance, ...]:
        """Groups that are too large for chance, the probability of any among benign clients."""
        known = [
            (client, _deviates(history.totals, history.queries))
            for client, history in histories
            if history.queries >= _FEWEST_QUERIES
        ]
        groups = (self._group(known, channel) for channel in range(len(self._channels)))
        limit = chance / len(self._channels)
        return tuple(
            each for each in groups if len(each.clients) >= _FEWEST_CLIENTS and each.chance < limit
        )

    def _group(self, known: Sequence[tuple[str | None, Bools]], channel: int) -> Resemblance:
        clients = tuple(client for client, deviates in known if deviates[channel])
        share = len(clients) / max(len(known), 1)
        expected = float(self._expected[channel])
        return Resemblance(
            clients=clients,
            channel=self._channels[channel],
            share=share,
            expected=expected,
            chance=_chernoff(share, expected, len(known)),
        )


def _deviates(totals: Floats, queries: int) -> Bools:
    return np.asarray(totals > _DEVIATION * queries)


def _chernoff(share: float, expected: float, n: int) -> float:
    """Bound on the probability of that share of n, or a larger one.

    Source: Hoeffding 1963, theorem 1, equation 2.1.
    """
    if share <= expected:
        return 1.0
    divergence = share * math.log(share / expected)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - expected))
    return math.exp(-n * divergence)
