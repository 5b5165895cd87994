"""Which client queries as one does to copy the model: a sequential test for each client.

rows, probabilities per client → evidence in ten channels → CUSUM of each → reading

`evidence` says how unusual a query is beside those of benign clients, `trails` what is
remembered of a client. A CUSUM for each channel adds up what is beyond the usual; the alarm level
is a conformal quantile over benign clients that nothing else was computed from, times a margin for
kinds of client that calibration did not see.

Sources: Page 1954 for the CUSUM; Papadopoulos et al. 2002 for the conformal level.

What it cannot find: a thief whose queries have the distribution of benign traffic. Quotas and
less precise answers (`outputs`) are the only defence against that one.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._bounded_map import BoundedMap
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.outliers import conformal_threshold
from mlsecops.errors import UsageError
from mlsecops.extraction.client_history import Steps, Trail
from mlsecops.extraction.linkage import Resemblance, Resemblances
from mlsecops.extraction.scores import CHANNEL_NAMES, Look, Sight, Usual
from mlsecops.extraction.stores import LocalTrails, Trails
from mlsecops.readings import COVERAGE, EXTRACTION, Observed, Reading

__all__ = ["ExtractionDetector"]

Floats = NDArray[np.float64]

_SAFETY: Final = 1.5
_LEAST_PEAK: Final = 0.8
_LEAST_SCALE: Final = np.array([20.0, 20.0, 20.0, 12.0, 20.0, 20.0, 20.0, 10.0, 10.0, 10.0])
_FEWEST_CLIENTS: Final = 4
_SALT_BYTES: Final = 16


class ExtractionDetector:
    """Watches each client's queries for model extraction; made by `calibrate` only.

    Attributes:
        false_positive_rate: Declared share of benign clients that may raise an alarm.
        resolution: Smallest rate that the calibration's number of clients can support; a declared
            rate below it rests on the safety factor alone.
        thresholds: Alarm level of each channel `(10,)`.
    """

    control: Final = "Extraction detector"

    def __init__(
        self,
        sight: Sight,
        usual: Usual,
        *,
        trails: Trails,
        features: int,
        rate: float,
        every: int = 8,
    ) -> None:
        self._sight = sight
        self._usual = usual
        self._features = features
        self._trails = trails
        self._every = every
        self._waiting: BoundedMap[str | None, list[Look]] = BoundedMap(list)
        self._resemblances = Resemblances([np.ones((1, 10))], channels=CHANNEL_NAMES)
        self.false_positive_rate = rate
        self.resolution = 1.0
        self.thresholds: Floats = _LEAST_SCALE

    @classmethod
    def calibrate(
        cls,
        baseline: Baseline,
        clients: Iterable[tuple[ArrayLike, ArrayLike]],
        *,
        false_positive_rate: float,
        trails: Trails | None = None,
        every: int = 8,
        salt: bytes | None = None,
        seed: int = 0,
    ) -> ExtractionDetector:
        """Learn what benign clients look like.

        Half of the clients become the reference, the other half set the alarm level. Use clients
        of every benign kind there is (few classes, bursts, rescans, drift), each with as many
        queries as clients make within the time for which they are remembered; at 1 %, two hundred
        clients or more.

        Args:
            baseline: Normal inputs of the model.
            clients: (x `(n, …)`, probabilities `(n, k)`) of each benign client, at least 4.
                Of other rows than the baseline's: beside those everything new looks strange.
            false_positive_rate: Share of benign clients that may raise an alarm, in (0, 1).
            trails: Where clients are remembered; in this process by default. Replicas that share
                trails calibrate on the same clients with the same salt and seed.
            every: Queries of one client that are judged together, at least 1; more cost less, and
                an alarm waits for them.
            salt: Secret that keeps what is remembered from being read as inputs, at least 16
                bytes; a fresh one by default, which serves one process only.
            seed: Chooses the halves.

        Raises:
            UsageError: Too few clients, a short salt, or shapes that do not fit the baseline.
        """
        if not 0 < false_positive_rate < 1:
            raise UsageError(f"false_positive_rate: expected (0, 1), got {false_positive_rate}")
        if salt is not None and len(salt) < _SALT_BYTES:
            raise UsageError(f"salt: expected at least {_SALT_BYTES} bytes, got {len(salt)}")
        if every < 1:
            raise UsageError(f"every: expected at least 1, got {every}")
        tables = [_client(baseline, x, probabilities) for x, probabilities in clients]
        if len(tables) < _FEWEST_CLIENTS:
            raise UsageError(f"clients: expected at least {_FEWEST_CLIENTS}, got {len(tables)}")
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(tables))
        reference = [tables[i] for i in order[: len(tables) // 2]]
        held = [tables[i] for i in order[len(tables) // 2 :]]
        sight = Sight(
            baseline,
            np.concatenate([rows for rows, _ in reference]),
            salt=salt or secrets.token_bytes(_SALT_BYTES),
            rng=rng,
        )
        steps = [_walk(sight, Trail(), sight.look(*each)) for each in reference]
        detector = cls(
            sight,
            Usual(steps),
            trails=LocalTrails() if trails is None else trails,
            features=len(baseline.names),
            rate=false_positive_rate,
            every=every,
        )
        detector._set_thresholds(steps, [_walk(sight, Trail(), sight.look(*each)) for each in held])
        return detector

    def observe(self, traffic: Observed) -> Iterator[Reading]:
        """Score a batch and read the evidence against each of its clients."""
        if traffic.probabilities is None or traffic.rows.shape[1] != self._features:
            return
        places: dict[str | None, list[int]] = {}
        for place, client in enumerate(traffic.clients):
            places.setdefault(client, []).append(place)
        look = self._sight.look(traffic.rows, traffic.probabilities)
        for client, chosen in places.items():
            now = float(traffic.at[chosen[-1]])
            waiting = self._waiting.use(client, now)
            waiting.append(look.of(chosen))
            if sum(len(each.classes) for each in waiting) >= self._every:
                together = functools.partial(self._readings, client, Look.join(waiting))
                yield from self._trails.use(client, now, together)
                self._waiting.pop(client)

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Evidence after each query of one new client, as shares of the threshold `(n,)`.

        Args:
            x: `(n, d)` its queries in order.
            probabilities: `(n, k)` the model's answers.

        Raises:
            UsageError: They do not fit together, or not the baseline.
        """
        rows, answers = _rows(x, probabilities, self._features)
        trail = Trail()
        levels = self._levels(trail, self._sight.look(rows, answers))
        return np.asarray(levels.max(axis=1, initial=0.0), dtype=np.float64)

    def resembling(self, *, chance: float = 0.001) -> tuple[Resemblance, ...]:
        """Clients that are unusual in the same way: maybe one thief under many names.

        Only clients that this process remembers are compared, not those in Redis.

        Args:
            chance: Probability that benign clients give any group, in (0, 1).
        """
        trails = self._trails if isinstance(self._trails, LocalTrails) else ()
        return self._resemblances.find(trails, chance=chance)

    def _readings(self, client: str | None, look: Look, trail: Trail) -> tuple[Reading, Reading]:
        """What is read of one client after some of its queries."""
        peaks = self._levels(trail, look).max(axis=0, initial=0.0)
        covered = trail.cover(look.regions, of=self._sight.regions)
        window = f"its last {trail.queries} queries"
        strongest = f"{window}, by their {CHANNEL_NAMES[peaks.argmax()]}"
        return (
            Reading(metric=EXTRACTION, value=float(peaks.max()), window=strongest, client=client),
            Reading(metric=COVERAGE, value=covered, window=window, client=client),
        )

    def _levels(self, trail: Trail, look: Look) -> Floats:
        """Evidence after each query, as shares of the thresholds `(n, 10)`."""
        steps = _walk(self._sight, trail, look)
        evidence = self._usual.evidence(steps)
        levels = np.repeat(trail.sums[None], len(steps.kept), axis=0)
        after = _cusum(trail.sums, evidence)
        if len(after):
            last = np.cumsum(steps.kept) - 1
            levels[last >= 0] = after[last[last >= 0]]
            trail.sums = after[-1]
            trail.totals = trail.totals + evidence.sum(axis=0)
        return levels / self.thresholds

    def _set_thresholds(self, reference: Sequence[Steps], held: Sequence[Steps]) -> None:
        """Alarm levels from clients that no rank, allowance or scale was computed from."""
        scale = np.maximum(np.max([self._peaks(each) for each in reference], axis=0), _LEAST_SCALE)
        highest = np.array([(self._peaks(each) / scale).max() for each in held])
        level = min(conformal_threshold(highest, self.false_positive_rate), float(highest.max()))
        self.thresholds = scale * _SAFETY * max(level, _LEAST_PEAK)
        self.resolution = 1 / (len(held) + 1)
        evidence = [self._usual.evidence(each) for each in held]
        self._resemblances = Resemblances(evidence, channels=CHANNEL_NAMES)

    def _peaks(self, steps: Steps) -> Floats:
        start = np.zeros(len(CHANNEL_NAMES))
        peaks = _cusum(start, self._usual.evidence(steps)).max(axis=0, initial=0.0)
        return np.asarray(peaks, dtype=np.float64)


def _cusum(start: Floats, evidence: Floats) -> Floats:
    """Sums that never fall below zero, after each query `(n, c)`."""
    total = evidence.cumsum(axis=0)
    lowest = np.minimum(np.minimum.accumulate(total, axis=0), -start)
    return np.asarray(total - lowest, dtype=np.float64)


def _walk(sight: Sight, trail: Trail, look: Look) -> Steps:
    return trail.extend(look.marks, look.scores, look.classes, spacing=sight.spacing)


def _client(baseline: Baseline, x: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Rows and answers of one client of the baseline's shape."""
    rows = baseline.table(x)
    return _rows(rows, probabilities, rows.shape[1])


def _rows(x: ArrayLike, probabilities: ArrayLike, features: int) -> tuple[Floats, Floats]:
    """Rows and answers that fit together."""
    rows: Any = np.asarray(x, dtype=np.float64)
    rows = rows.reshape(len(rows), -1) if rows.ndim else rows.reshape(1, -1)
    answers: Any = np.asarray(probabilities, dtype=np.float64)
    if rows.shape[1] != features:
        raise UsageError(f"inputs: expected ({len(rows)}, {features}), got {rows.shape}")
    if answers.ndim != 2 or len(answers) != len(rows) or answers.shape[1] < 2:  # noqa: PLR2004 - rows by two classes or more
        raise UsageError(f"probabilities: expected ({len(rows)}, k), got {answers.shape}")
    return rows, answers
