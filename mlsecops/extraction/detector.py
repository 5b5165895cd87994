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
import hashlib
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
from mlsecops.extraction.client_history import ClientHistory
from mlsecops.extraction.folder_store import fresh_salt, usual_store
from mlsecops.extraction.linkage import Linkage, Resemblance
from mlsecops.extraction.orders import ordered_rows
from mlsecops.extraction.scores import CHANNEL_NAMES, BenignReference, QueryScorer, QueryScores
from mlsecops.extraction.steps import Steps
from mlsecops.extraction.stores import HistoryStore, LocalHistoryStore, checked_salt
from mlsecops.readings import COVERAGE, EXTRACTION, Observed, Reading

_MARGIN: Final = 1.5  # factor; chosen: benign clients of unseen kinds pass, attacks take longer
_LEAST_PEAK: Final = 0.8  # of the scale; chosen: a level from few clients is not too low
_LEAST_SCALE: Final = np.array([40.0, 40.0, 50.0, 24.0, 80.0, 45.0, 10.0, 20.0, 30.0, 14.0])  # nats
_ORDERED: Final = 8  # clients for one of each order; chosen: three of eleven clients are in order
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
            histories: Store of the clients' histories; by default in this process, or in the
                folder of the service's workers (`PROMETHEUS_MULTIPROC_DIR`). Replicas that share
                one calibrate on the same clients with the same salt and seed.
            every: Queries of one client judged together, ≥ 1; more save time and delay an alarm.
            salt: Secret of at least 16 bytes that keeps stored histories from being read as
                inputs; a fresh one by default, which serves one process only.
            seed: Seeds the split into halves.

        Raises:
            UsageError: Too few clients, a short salt, or shapes that do not fit the baseline.
        """
        if not 0 < false_positive_rate < 1:
            raise UsageError(f"false_positive_rate: expected (0, 1), got {false_positive_rate}")
        salt = checked_salt(fresh_salt() if salt is None else salt)
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
            [_steps(scorer, ClientHistory(), each) for each in _scored(scorer, half, rng)]
            for half in (reference, held)
        )
        detector = cls(
            scorer,
            BenignReference(steps),
            histories=usual_store(salt, _identity(tables, seed))
            if histories is None
            else histories,
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
        due: dict[str | None, tuple[float, QueryScores]] = {}
        for client, chosen in places.items():
            now = float(traffic.at[chosen[-1]])
            waiting = self._waiting.use(client, now)
            waiting.append(scores.of(chosen))
            if sum(len(each.classes) for each in waiting) >= self._every:
                due[client] = now, QueryScores.join(waiting)
                self._waiting.pop(client)
        yield from self._due(due)

    def _due(self, due: dict[str | None, tuple[float, QueryScores]]) -> Iterator[Reading]:
        """Readings of clients with enough queries: all at once, if their histories are here."""
        if isinstance(self._histories, LocalHistoryStore):
            use = self._histories.use
            histories = [use(client, now, _itself) for client, (now, _) in due.items()]
            yield from self._readings(list(due), [each for _, each in due.values()], histories)
            return
        for client, (now, scores) in due.items():
            change = functools.partial(self._alone, client, scores)
            yield from self._histories.use(client, now, change)

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Evidence after each query of one new client, as shares of the threshold `(n,)`.

        The queries `(n, d)` are in order, with the model's answers `(n, k)`.

        Raises:
            UsageError: They do not fit together, or not the baseline.
        """
        rows, answers = _rows(x, probabilities, self._features)
        (levels,) = self._levels([ClientHistory()], [self._scorer.score(rows, answers)])
        return np.asarray(levels.max(axis=1, initial=0.0), dtype=np.float64)

    def resembling(self, *, chance: float = 0.001) -> tuple[Resemblance, ...]:
        """Clients that are unusual in the same way, possibly one attacker with many accounts.

        Only histories in this process are compared, not those in Redis. `chance` is the probability
        that benign clients form any group, in (0, 1).
        """
        local = self._histories if isinstance(self._histories, Iterable) else ()
        return self._linkage.find(local, chance=chance)

    def _alone(
        self, client: str | None, scores: QueryScores, history: ClientHistory
    ) -> list[Reading]:
        return list(self._readings([client], [scores], [history]))

    def _readings(
        self,
        clients: Sequence[str | None],
        scores: Sequence[QueryScores],
        histories: Sequence[ClientHistory],
    ) -> Iterator[Reading]:
        every = self._levels(histories, scores)
        for client, own, history, levels in zip(clients, scores, histories, every, strict=True):
            peaks = levels.max(axis=0, initial=0.0)
            covered = history.cover(own.regions, of=self._scorer.regions)
            window = f"its last {history.queries} queries"
            strongest = f"{window}, by their {CHANNEL_NAMES[peaks.argmax()]}"
            value = float(peaks.max())
            yield Reading(metric=EXTRACTION, value=value, window=strongest, client=client)
            yield Reading(metric=COVERAGE, value=covered, window=window, client=client)

    def _levels(
        self, histories: Sequence[ClientHistory], scores: Sequence[QueryScores]
    ) -> list[Floats]:
        """CUSUM after each query, as shares of the thresholds: `(n, 10)` of each client."""
        if not histories:
            return []
        steps = [_steps(self._scorer, *each) for each in zip(histories, scores, strict=True)]
        found = zip(histories, steps, self._benign.evidence(steps), strict=True)
        return [_added(*each) / self.thresholds for each in found]

    def _set_thresholds(self, reference: Sequence[Steps], held: Sequence[Steps]) -> None:
        """Set alarm levels from clients that no rank, allowance or scale was fitted on."""
        scale = np.maximum(np.max([self._peaks(each) for each in reference], axis=0), _LEAST_SCALE)
        peaks = np.array([self._peaks(each) / scale for each in held]).T
        rate = self.false_positive_rate / len(CHANNEL_NAMES)  # Bonferroni: any channel may alarm
        levels = [min(conformal_threshold(each, rate), float(each.max())) for each in peaks]
        self.thresholds = scale * _MARGIN * np.maximum(levels, _LEAST_PEAK)
        self.resolution = 1 / (len(held) + 1)
        evidence = self._benign.evidence(held)
        self._linkage = Linkage(evidence, channels=CHANNEL_NAMES)

    def _peaks(self, steps: Steps) -> Floats:
        start = np.zeros(len(CHANNEL_NAMES))
        (evidence,) = self._benign.evidence([steps])
        peaks = _cusum(start, evidence).max(axis=0, initial=0.0)
        return np.asarray(peaks, dtype=np.float64)


def _added(history: ClientHistory, steps: Steps, evidence: Floats) -> Floats:
    """Add evidence to a history; returns the CUSUM after each query `(n, 10)`."""
    levels = np.repeat(history.sums[None], len(steps.kept), axis=0)
    if len(evidence):
        after = _cusum(history.sums, evidence)
        last = np.cumsum(steps.kept) - 1
        levels[last >= 0] = after[last[last >= 0]]
        history.sums = after[-1]
        history.totals = history.totals + evidence.sum(axis=0)
    return levels


def _itself(history: ClientHistory) -> ClientHistory:
    return history


def _cusum(start: Floats, evidence: Floats) -> Floats:
    """Sums that never fall below zero, after each query `(n, c)`."""
    total = evidence.cumsum(axis=0)
    lowest = np.minimum(np.minimum.accumulate(total, axis=0), -start)
    return np.asarray(total - lowest, dtype=np.float64)


def _steps(scorer: QueryScorer, history: ClientHistory, new: QueryScores) -> Steps:
    return history.extend(new.projections, new.scores, new.classes, spacing=scorer.spacing)


def _scored(
    scorer: QueryScorer, clients: Sequence[tuple[Floats, Floats]], rng: np.random.Generator
) -> list[QueryScores]:
    """Scores of benign clients, and of as many rows in the orders that others might send."""
    scores = [scorer.score(*each) for each in clients]
    together = QueryScores.join(scores)
    places = ordered_rows(
        together.projections,
        length=int(np.median([len(rows) for rows, _ in clients])),
        clients=len(clients) // _ORDERED,
        rng=rng,
    )
    return scores + [together.of(each) for each in places]


def _identity(tables: Sequence[tuple[Floats, Floats]], seed: int) -> bytes:
    """Digest of what a detector was calibrated on."""
    found = hashlib.sha256(str(seed).encode())
    for table in tables:
        for part in table:
            found.update(repr(part.shape).encode() + np.ascontiguousarray(part).tobytes())
    return found.digest()


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
