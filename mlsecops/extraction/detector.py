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
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mlsecops._bounded.mapping import BoundedMap
from mlsecops._choices import checked, shown, whole
from mlsecops._repr import concise_repr
from mlsecops.drift.baseline import Baseline
from mlsecops.drift.inputs import Floats
from mlsecops.drift.outliers import conformal_threshold
from mlsecops.errors import UsageError
from mlsecops.extraction.client_history import ClientHistory, cover, extend
from mlsecops.extraction.cusum import cusum
from mlsecops.extraction.folder_store import fresh_salt, usual_store
from mlsecops.extraction.linkage import Linkage, Resemblance
from mlsecops.extraction.orders import ordered_rows
from mlsecops.extraction.scores import CHANNEL_NAMES, BenignReference, QueryScorer, QueryScores
from mlsecops.extraction.segments import Segments
from mlsecops.extraction.steps import Steps
from mlsecops.extraction.stores import HistoryStore, LocalHistoryStore, checked_salt
from mlsecops.readings import COVERAGE, EXTRACTION, Observed, Reading

_MARGIN: Final = 1.5  # factor; chosen: benign clients of unseen kinds pass, attacks take longer
_LEAST_PEAK: Final = 0.8  # of the scale; chosen: a level from few clients is not too low
_LEAST_SCALE: Final = np.array([40.0, 40.0, 50.0, 24.0, 80.0, 45.0, 10.0, 20.0, 30.0, 14.0])  # nats
_ORDERED: Final = 8  # clients for one of each order; chosen: three of eleven clients are in order
_TOGETHER: Final = 2**15  # queries, known ones too; chosen: bounds the memory of a batch to 10 MiB
_FEWEST_CLIENTS: Final = 4  # clients; two halves of two, the least that has a spread

_Due: TypeAlias = tuple[str | None, float, list[QueryScores]]
"""A client, the time of its last query in Unix seconds, and its queries."""


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
            _fresh_steps(scorer, _scored(scorer, half, rng)) for half in (reference, held)
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
        answers = traffic.probabilities
        if answers is None or not len(answers) or traffic.rows.shape[1] != self._features:
            return
        scores = self._scorer.score(traffic.rows, answers)
        numbers = {client: number for number, client in enumerate(dict.fromkeys(traffic.clients))}
        found = map(numbers.__getitem__, traffic.clients)
        owners = np.fromiter(found, dtype=np.int64, count=len(traffic.clients))
        order = owners.argsort(kind="stable")
        ordered, ends = scores.of(order), np.bincount(owners).cumsum().tolist()
        due: list[_Due] = []
        begin = 0
        for client, end in zip(numbers, ends, strict=True):
            own = slice(begin, end)
            now, begin = float(traffic.at[order[end - 1]]), end
            waiting = self._waiting.use(client, now)
            if sum(len(each.classes) for each in waiting) + own.stop - own.start < self._every:
                waiting.append(scores.of(order[own]))  # a copy: a view would keep the whole table
            else:
                due.append((client, now, [*waiting, ordered.of(own)]))
                self._waiting.pop(client)
        yield from self._due(due)

    def _due(self, due: Sequence[_Due]) -> Iterator[Reading]:
        """Readings of clients with enough queries: many at once, if their histories are here."""
        if not isinstance(self._histories, LocalHistoryStore):
            for client, now, parts in due:
                change = functools.partial(self._alone, client, parts)
                yield from self._histories.use(client, now, change)
            return
        chosen: list[tuple[_Due, ClientHistory]] = []
        rows = 0
        for each in due:
            client, now, parts = each
            history = self._histories.use(client, now, _itself)
            chosen.append((each, history))
            rows += len(history.classes) + sum(len(part.classes) for part in parts)
            if rows >= _TOGETHER:
                yield from self._readings(chosen)
                chosen, rows = [], 0
        if chosen:
            yield from self._readings(chosen)

    def score(self, x: ArrayLike, probabilities: ArrayLike) -> Floats:
        """Evidence after each query of one new client, as shares of the threshold `(n,)`.

        The queries `(n, d)` are in order, with the model's answers `(n, k)`.

        Raises:
            UsageError: They do not fit together, or not the baseline.
        """
        rows, answers = _rows(x, probabilities, self._features)
        scores = self._scorer.score(rows, answers)
        levels = self._levels([ClientHistory()], scores, Segments.of([len(rows)]))
        return np.asarray(levels.max(axis=1, initial=0.0), dtype=np.float64)

    def resembling(self, *, chance: float = 0.001) -> tuple[Resemblance, ...]:
        """Clients that are unusual in the same way, possibly one attacker with many accounts.

        Only histories in this process are compared, not those in Redis. `chance` is the probability
        that benign clients form any group, in (0, 1).
        """
        local = self._histories if isinstance(self._histories, Iterable) else ()
        return self._linkage.find(local, chance=chance)

    def _alone(
        self, client: str | None, parts: list[QueryScores], history: ClientHistory
    ) -> list[Reading]:
        return list(self._readings([((client, 0.0, parts), history)]))

    def _readings(self, due: Sequence[tuple[_Due, ClientHistory]]) -> Iterator[Reading]:
        names = [name for (name, _, _), _ in due]
        parts = [own for (_, _, own), _ in due]
        histories = [history for _, history in due]
        scores = QueryScores.join([each for own in parts for each in own])
        clients = Segments.of([sum(len(each.classes) for each in own) for own in parts])
        peaks = clients.peaks(self._levels(histories, scores, clients))
        covered = cover(histories, scores.regions, clients=clients, of=self._scorer.regions)
        columns = (peaks.max(axis=1), peaks.argmax(axis=1), covered)
        for name, history, value, channel, share in zip(
            names, histories, *(each.tolist() for each in columns), strict=True
        ):
            window = f"its last {history.queries} queries"
            strongest = f"{window}, by their {CHANNEL_NAMES[channel]}"
            yield Reading(metric=EXTRACTION, value=value, window=strongest, client=name)
            yield Reading(metric=COVERAGE, value=share, window=window, client=name)

    def _levels(
        self, histories: Sequence[ClientHistory], scores: QueryScores, clients: Segments
    ) -> Floats:
        """CUSUM after each query of each client, as shares of the thresholds `(n, 10)`."""
        steps = extend(
            histories,
            scores.projections,
            scores.scores,
            scores.classes,
            clients=clients,
            spacing=self._scorer.spacing,
        )
        sums = np.stack([each.sums for each in histories])
        evidence, kept = self._benign.evidence(steps), steps.clients
        after = cusum(sums, evidence, kept)
        totals = kept.sums(evidence)
        for history, own, new in zip(histories, kept.parts(after), totals, strict=True):
            if len(own):
                history.sums, history.totals = own[-1].copy(), history.totals + new
        # The level does not change where a query repeats an earlier one exactly.
        begins = np.repeat(kept.begins, clients.sizes)
        last = np.cumsum(steps.kept) - 1
        before = np.repeat(sums, clients.sizes, axis=0)
        levels = np.where((last >= begins)[:, None], after[last], before) if len(after) else before
        return np.asarray(levels / self.thresholds, dtype=np.float64)

    def _set_thresholds(self, reference: Steps, held: Steps) -> None:
        """Set alarm levels from clients that no rank, allowance or scale was fitted on."""
        scale = np.maximum(self._peaks(reference).max(axis=0), _LEAST_SCALE)
        peaks = (self._peaks(held) / scale).T
        rate = self.false_positive_rate / len(CHANNEL_NAMES)  # Bonferroni: any channel may alarm
        levels = [min(conformal_threshold(each, rate), float(each.max())) for each in peaks]
        self.thresholds = scale * _MARGIN * np.maximum(levels, _LEAST_PEAK)
        self.resolution = 1 / (len(held.clients) + 1)
        evidence = held.clients.parts(self._benign.evidence(held))
        self._linkage = Linkage(list(evidence), channels=CHANNEL_NAMES)

    def _peaks(self, steps: Steps) -> Floats:
        start = np.zeros((len(steps.clients), len(CHANNEL_NAMES)))
        return steps.clients.peaks(cusum(start, self._benign.evidence(steps), steps.clients))


def _itself(history: ClientHistory) -> ClientHistory:
    return history


def _fresh_steps(scorer: QueryScorer, clients: Sequence[QueryScores]) -> Steps:
    """Steps of clients without a history."""
    scores = QueryScores.join(clients)
    return extend(
        [ClientHistory() for _ in clients],
        scores.projections,
        scores.scores,
        scores.classes,
        clients=Segments.of([len(each.classes) for each in clients]),
        spacing=scorer.spacing,
    )


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
