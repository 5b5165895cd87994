"""Extraction detector: a sequential test of each client for queries that copy the model.

    rows, probabilities of a client → evidence in ten channels → CUSUM of each → reading

`scores` measures the evidence, `client_history` holds what is stored of a client. The CUSUM of a
channel sums the evidence beyond the benign allowance. The alarm level is a conformal quantile over
benign clients that nothing else was fitted on, times a margin for kinds of client that calibration
did not see.

The detector cannot find a client whose queries have the distribution of benign traffic; quotas and
output perturbation are the defence against that one.

Sources: Page 1954 (CUSUM); Papadopoulos et al. 2002 (conformal level).
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked, shown, whole
from mlsecops._repr import concise_repr
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Floats
from mlsecops.drift.outliers import conformal_threshold
from mlsecops.errors import UsageError
from mlsecops.extraction.client_history import ClientHistory, Steps
from mlsecops.extraction.linkage import Linkage, Resemblance
from mlsecops.extraction.scores import CHANNEL_NAMES, BenignReference, QueryScorer, QueryScores
from mlsecops.extraction.stores import SALT_BYTES, HistoryStore, LocalHistoryStore, checked_salt
from mlsecops.readings import COVERAGE, EXTRACTION, Observed, Reading

_MARGIN: Final = 1.5  # factor; chosen: benign clients of unseen kinds pass, attacks take longer
_LEAST_PEAK: Final = 0.8  # of the scale; chosen: a level from few clients is not too low
_LEAST_SCALE: Final = np.array([20.0, 20.0, 20.0, 12.0, 20.0, 20.0, 20.0, 10.0, 10.0, 10.0])  # nats
_FEWEST_CLIENTS: Final = 4  # clients; two halves of two, the least that has a spread


@concise_repr("false_positive_rate", "thresholds", "resolution")
class ExtractionDetector:
    """Watches each client's queries for model extraction; made by `calibrate` only.

    Attributes:
        false_positive_rate: Declared share of benign clients that may raise an alarm.
        resolution: Smallest rate that the number of calibration clients supports; a declared rate
            below it rests on the margin alone.
        thresholds: Alarm level of each channel `(10,)`, in nats.
    """

    control: Final = "Extraction detector"

    def __init__(
        self,
        scorer: QueryScorer,
        benign: BenignReference,
        *,
        histories: HistoryStore,
        features: int,
        rate: float,
        every: int = 8,
    ) -> None:
        self._scorer = scorer
        self._benign = benign
        self._features = features
        self._histories = histories
        self._every = every
        self._waiting: BoundedMap[str | None, list[QueryScores]] = BoundedMap(list)
        self._linkage = Linkage([np.ones((1, 10))], channels=CHANNEL_NAMES)
        self.false_positive_rate = rate
        self.resolution = 1.0
        self.thresholds: Floats = _LEAST_SCALE

    @classmethod
    @checked
    def calibrate(
        cls,
        baseline: Baseline,
        clients: Iterable[tuple[ArrayLike, ArrayLike]],
        *,
        false_positive_rate: float,
        histories: HistoryStore | None = None,
        every: int = 8,
        salt: bytes | None = None,
        seed: int = 0,
    ) -> ExtractionDetector:
        """Calibrate a detector on benign clients.

        Half of the clients become the reference, the other half set the alarm level. Use clients
        of every benign kind there is (few classes, bursts, rescans, drift), each with as many
        queries as clients make before they are forgotten; for 1 %, two hundred clients or more.

        Args:
            baseline: Normal inputs of the model.
            clients: (x `(n, …)`, probabilities `(n, k)`) of each benign client, at least 4. Take
                rows that the baseline was not fitted on: it fits its own rows too well.
            false_positive_rate: Share of benign clients that may raise an alarm, in (0, 1).
            histories: Store of the clients' histories; in this process by default. Replicas that
                share one calibrate on the same clients with the same salt and seed.
            every: Queries of one client judged together, ≥ 1; more save time and delay an alarm.
            salt: Secret of at least 16 bytes that keeps stored histories from being read as
                inputs; a fresh one by default, which serves one process only.
            seed: Seeds the split into halves.

        Raises:
            UsageError: Too few clients, a short salt, or shapes that do not fit the baseline.
        """
        if not 0 < false_positive_rate < 1:
            raise UsageError(f"false_positive_rate: expected (0, 1), got {false_positive_rate}")
        salt = checked_salt(secrets.token_bytes(SALT_BYTES) if salt is None else salt)
        if every < 1:
            raise UsageError(f"every: expected at least 1, got {every}")
        whole("seed", seed, "a number from 0 on", least=0)
        tables = [_client(baseline, *_pair(each)) for each in clients]
        if len(tables) < _FEWEST_CLIENTS:
            raise UsageError(f"clients: expected at least {_FEWEST_CLIENTS}, got {len(tables)}")
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(tables))
        reference = [tables[i] for i in order[: len(tables) // 2]]
        held = [tables[i] for i in order[len(tables) // 2 :]]
        scorer = QueryScorer(
            baseline,
            np.concatenate([rows for rows, _ in reference]),
            salt=salt,
            rng=rng,
        )
        steps, others = (
            [_steps(scorer, ClientHistory(), scorer.score(*each)) for each in half]
            for half in (reference, held)
        )
        detector = cls(
            scorer,
            BenignReference(steps),
            histories=LocalHistoryStore() if histories is None else histories,
            features=len(baseline.names),
            rate=false_positive_rate,
            every=every,
        )
        detector._set_thresholds(steps, others)
        return detector

    def observe(self, traffic: Observed) -> Iterator[Reading]:
        """Score a batch, and yield the readings of each of its clients."""
        if traffic.probabilities is None or traffic.rows.shape[1] != self._features:
            return
        places: dict[str | None, list[int]] = {}
        for place, client in enumerate(traffic.clients):
            places.setdefault(client, []).append(place)
        scores = self._scorer.score(traffic.rows, traffic.probabilities)
        for client, chosen in places.items():
            now = float(traffic.at[chosen[-1]])
            waiting = self._waiting.use(client, now)
            waiting.append(scores.of(chosen))
            if sum(len(each.classes) for each in waiting) >= self._every:
                change = functools.partial(self._readings, client, QueryScores.join(waiting))
                yield from self._histories.use(client, now, change)
                self._waiting.pop(client)

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Evidence after each query of one new client, as shares of the threshold `(n,)`.

        The queries `(n, d)` are in order, with the model's answers `(n, k)`.

        Raises:
            UsageError: They do not fit together, or not the baseline.
        """
        rows, answers = _rows(x, probabilities, self._features)
        levels = self._levels(ClientHistory(), self._scorer.score(rows, answers))
        return np.asarray(levels.max(axis=1, initial=0.0), dtype=np.float64)

    def resembling(self, *, chance: float = 0.001) -> tuple[Resemblance, ...]:
        """Clients that are unusual in the same way, possibly one attacker with many accounts.

        Only histories in this process are compared, not those in Redis. `chance` is the probability
        that benign clients form any group, in (0, 1).
        """
        local = self._histories if isinstance(self._histories, LocalHistoryStore) else ()
        return self._linkage.find(local, chance=chance)

    def _readings(
        self, client: str | None, scores: QueryScores, history: ClientHistory
    ) -> tuple[Reading, Reading]:
        peaks = self._levels(history, scores).max(axis=0, initial=0.0)
        covered = history.cover(scores.regions, of=self._scorer.regions)
        window = f"its last {history.queries} queries"
        strongest = f"{window}, by their {CHANNEL_NAMES[peaks.argmax()]}"
        return (
            Reading(metric=EXTRACTION, value=float(peaks.max()), window=strongest, client=client),
            Reading(metric=COVERAGE, value=covered, window=window, client=client),
        )

    def _levels(self, history: ClientHistory, scores: QueryScores) -> Floats:
        """CUSUM after each query, as shares of the thresholds `(n, 10)`."""
        steps = _steps(self._scorer, history, scores)
        evidence = self._benign.evidence(steps)
        levels = np.repeat(history.sums[None], len(steps.kept), axis=0)
        after = _cusum(history.sums, evidence)
        if len(after):
            last = np.cumsum(steps.kept) - 1
            levels[last >= 0] = after[last[last >= 0]]
            history.sums = after[-1]
            history.totals = history.totals + evidence.sum(axis=0)
        return levels / self.thresholds

    def _set_thresholds(self, reference: Sequence[Steps], held: Sequence[Steps]) -> None:
        """Set alarm levels from clients that no rank, allowance or scale was fitted on."""
        scale = np.maximum(np.max([self._peaks(each) for each in reference], axis=0), _LEAST_SCALE)
        highest = np.array([(self._peaks(each) / scale).max() for each in held])
        level = min(conformal_threshold(highest, self.false_positive_rate), float(highest.max()))
        self.thresholds = scale * _MARGIN * max(level, _LEAST_PEAK)
        self.resolution = 1 / (len(held) + 1)
        evidence = [self._benign.evidence(each) for each in held]
        self._linkage = Linkage(evidence, channels=CHANNEL_NAMES)

    def _peaks(self, steps: Steps) -> Floats:
        start = np.zeros(len(CHANNEL_NAMES))
        peaks = _cusum(start, self._benign.evidence(steps)).max(axis=0, initial=0.0)
        return np.asarray(peaks, dtype=np.float64)


def _cusum(start: Floats, evidence: Floats) -> Floats:
    """Sums that never fall below zero, after each query `(n, c)`."""
    total = evidence.cumsum(axis=0)
    lowest = np.minimum(np.minimum.accumulate(total, axis=0), -start)
    return np.asarray(total - lowest, dtype=np.float64)


def _steps(scorer: QueryScorer, history: ClientHistory, new: QueryScores) -> Steps:
    return history.extend(new.projections, new.scores, new.classes, spacing=scorer.spacing)


def _pair(client: Any) -> tuple[Any, Any]:
    if isinstance(client, (tuple, list)) and len(client) == 2:  # noqa: PLR2004 - a pair
        return client[0], client[1]
    raise UsageError(f"clients: expected (x, probabilities) pairs, got {shown(client)} in it")


def _client(baseline: Baseline, x: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    rows = baseline.table(x)
    return _rows(rows, probabilities, rows.shape[1])


def _rows(x: ArrayLike, probabilities: ArrayLike, features: int) -> tuple[Floats, Floats]:
    rows: Any = np.asarray(x, dtype=np.float64)
    rows = rows.reshape(len(rows), -1) if rows.ndim else rows.reshape(1, -1)
    answers: Any = np.asarray(probabilities, dtype=np.float64)
    if rows.shape[1] != features:
        raise UsageError(f"inputs: expected ({len(rows)}, {features}), got {rows.shape}")
    if answers.ndim != 2 or len(answers) != len(rows) or answers.shape[1] < 2:  # noqa: PLR2004 - rows by two classes or more
        raise UsageError(f"probabilities: expected ({len(rows)}, k), got {answers.shape}")
    return rows, answers
