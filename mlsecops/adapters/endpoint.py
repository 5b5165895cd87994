"""A model behind an HTTP address, seen as an Adapter without gradients.

Batches go out as JSON, scores come back; every request is paced, counted against a cap, and kept in
a journal, so that an attack that was interrupted asks no question twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, cast, get_args

import numpy as np

from mlsecops._addresses import public_address, require_private, retry_after
from mlsecops._extras import require
from mlsecops._json import parse_json
from mlsecops.adapters.base import batches, float_rows, log_probabilities, softmax
from mlsecops.adapters.query_journal import Journal, key_of
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

__all__ = ["Endpoint", "Scores"]

Scores: TypeAlias = Literal["probabilities", "logits", "labels"]

_PASSING: Final = frozenset({429, 502, 503, 504})
_MOST_BYTES: Final = 64 << 20
_LONGEST_WAIT: Final = 60.0  # seconds that a server may ask for
_SUM: Final = 1e-2  # by which rounded probabilities may miss 1


class Endpoint:
    """A served classifier.

    The default body is the one of TensorFlow Serving and KServe (V1): `{"instances": [...]}` out,
    `{"predictions": [...]}` back.

    Args:
        url: Where it answers POST; `http` only on this machine.
        scores: What it gives: `"probabilities"` or `"logits"` `(n, k)`, or `"labels"`
            `(n,)`.
        classes: Number of classes `k`; needed for labels, insisted on for scores.
        max_requests: Requests in all, over every run with the same journal.
        rate: Most requests a second; unlimited by default.
        batch_size: Inputs in a request.
        journal: File of paid answers, to go on after an interruption.
        headers: Sent with each request (`{"authorization": "…"}`).
        request: Makes the JSON value of a batch `(n, *shape)`.
        response: Takes the scores out of the answer's JSON value.
        channels_first: Whether images are `(n, c, h, w)`.
        timeout: Seconds to wait for an answer.
        retries: Further tries after a failure that may pass (no connection, 429, 502, 503, 504).
        unsafe_plain_http: Send inputs and headers unencrypted to another machine.
        transport: httpx's transport; the network by default.
        clock: Seconds, monotonic.
        sleep: Waits for seconds.

    Raises:
        UsageError: The address or an option cannot work, or the journal is of another endpoint.
        MissingExtra: httpx is not installed.

    Source:
        KServe, "V1 Inference Protocol"; TensorFlow Serving, "RESTful API".
    """

    framework = "http"
    differentiable = False

    def __init__(
        self,
        url: str,
        *,
        scores: Scores = "probabilities",
        classes: int | None = None,
        max_requests: int = 10_000,
        rate: float | None = None,
        batch_size: int = 64,
        journal: str | os.PathLike[str] | None = None,
        headers: Mapping[str, str] | None = None,
        request: Callable[[Array], Any] = lambda x: {"instances": x.tolist()},
        response: Callable[[Any], Any] = lambda value: value["predictions"],
        channels_first: bool = False,
        timeout: float = 30.0,
        retries: int = 3,
        unsafe_plain_http: bool = False,
        transport: Any = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        _require_options(scores, classes, max_requests, rate, batch_size)
        self.name = public_address(url)
        if not unsafe_plain_http:
            require_private(url)
        self.model = self
        self.channels_first = channels_first
        self._httpx = require("httpx")
        self._client = self._httpx.Client(
            headers=dict(headers or {}), timeout=timeout, transport=transport
        )
        self._url, self._scores, self._classes = url, scores, classes
        self._most, self._batch_size, self._retries = max_requests, batch_size, retries
        self._journal = Journal(journal, about=f"{url}\n{scores}")
        self._request, self._response = request, response
        self._gap = 0.0 if rate is None else 1.0 / rate
        self._next = -np.inf
        self._clock, self._sleep = clock, sleep

    @property
    def requests(self) -> int:
        """Requests so far, with those of earlier runs that the journal holds."""
        return self._journal.requests

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`; one-hot rows where the endpoint gives labels alone."""
        answers = self._answers(x)
        return softmax(answers) if self._scores == "logits" else answers

    def logits(self, x: Array) -> Array:
        """Scores `(n, k)`: the endpoint's logits, else the logarithm of its probabilities."""
        answers = self._answers(x)
        return answers if self._scores == "logits" else log_probabilities(answers)

    def loss_gradient(self, x: Array, y: Any) -> NoReturn:
        """Not available.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"{self.name} gives no gradients ({len(x)} inputs, {len(y)} labels): "
            "use an attack that needs only scores or labels"
        )

    def features(self, x: Array) -> NoReturn:
        """Not available.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{self.name} shows no activations of its {len(x)} inputs")

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _answers(self, x: Array) -> Array:
        rows = float_rows(x)
        if not len(rows):
            raise UsageError(f"{self.name}: expected at least one input, got none")
        return np.concatenate(
            [self._batch(rows[part]) for part in batches(len(rows), size=self._batch_size)]
        )

    def _batch(self, rows: Array) -> Array:
        keys = [key_of(row) for row in rows]
        answers = [self._journal.take(key) for key in keys]
        open_ = [index for index, answer in enumerate(answers) if answer is None]
        if open_:
            scores = self._ask(rows[open_], [keys[index] for index in open_])
            for index, row in zip(open_, scores.tolist(), strict=True):
                answers[index] = row
        return np.asarray(answers, dtype=np.float32).reshape(len(rows), -1)

    def _ask(self, rows: Array, keys: list[str]) -> Array:
        body = self._request(rows)
        for turn in range(self._retries + 1):
            self._require_budget(len(rows))
            self._pace()
            status, data, wait = self._send(body)
            if status == self._httpx.codes.OK:
                scores = self._parsed(data, len(rows))
                self._journal.spend(keys, scores.tolist())
                return scores
            self._journal.spend()
            if status and status not in _PASSING:
                raise UsageError(f"{self.name} answered {status}: {data[:200]!r}")
            if turn < self._retries:
                self._sleep(min(wait or 0.5 * 2**turn, _LONGEST_WAIT))
        told = f"answered {status}" if status else data.decode()
        raise UsageError(f"{self.name} cannot be reached after {self._retries + 1} tries: {told}")

    def _send(self, body: Any) -> tuple[int, bytes, float]:
        """Status (0 for none), answer, and the seconds that the server asks to wait."""
        try:
            with self._client.stream("POST", self._url, json=body) as answer:
                data = bytearray()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > _MOST_BYTES:
                        raise UsageError(f"{self.name} answered more than {_MOST_BYTES} bytes")
                return (
                    answer.status_code,
                    bytes(data),
                    retry_after(answer.headers.get("retry-after")),
                )
        except self._httpx.HTTPError as error:
            return 0, f"{type(error).__name__}: {error}".encode(), 0.0

    def _require_budget(self, rows: int) -> None:
        if self._journal.requests >= self._most:
            raise UsageError(
                f"{self.name}: all {self._most} requests are spent and {rows} inputs wait: raise "
                "max_requests, and with the same journal the answers so far cost nothing"
            )

    def _pace(self) -> None:
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._gap

    def _parsed(self, data: bytes, rows: int) -> Array:
        try:
            value = parse_json(data, what="answer", error=ValueError)
            answer = np.asarray(self._response(value))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise UsageError(f"{self.name}: cannot read the answer: {error!r}") from error
        scores = self._one_hot(answer, rows) if self._scores == "labels" else answer
        width = scores.shape[1] if scores.ndim == 2 else 0  # noqa: PLR2004 - (n, k)
        if len(scores) != rows or width < 2 or width != (self._classes or width):  # noqa: PLR2004 - two classes
            raise UsageError(
                f"{self.name}: expected scores shaped ({rows}, {self._classes or 'k'}), "
                f"got {answer.shape}"
            )
        if scores.dtype.kind not in "iuf" or not np.isfinite(scores).all():
            raise UsageError(f"{self.name}: expected finite numbers, got {scores.dtype}")
        if self._scores == "probabilities" and not _sum_to_one(scores):
            raise UsageError(
                f"{self.name}: expected probabilities, got rows that do not sum to 1: "
                'say scores="logits" if that is what it gives'
            )
        return cast("Array", scores.astype(np.float32))

    def _one_hot(self, answer: Any, rows: int) -> Array:
        classes = self._classes or 0
        known = answer.shape == (rows,) and answer.dtype.kind in "iu"
        if not known or answer.min() < 0 or answer.max() >= classes:
            raise UsageError(
                f"{self.name}: expected {rows} labels under {classes}, got {answer.dtype} shaped "
                f"{answer.shape}"
            )
        return cast("Array", np.eye(classes, dtype=np.float32)[answer])


def _sum_to_one(scores: Any) -> bool:
    return bool((scores >= 0).all() and (abs(scores.sum(axis=1) - 1) < _SUM).all())


def _require_options(
    scores: str, classes: int | None, max_requests: int, rate: float | None, batch_size: int
) -> None:
    if scores not in get_args(Scores):
        raise UsageError(f"scores: expected one of {', '.join(get_args(Scores))}, got {scores!r}")
    if scores == "labels" and classes is None:
        raise UsageError("an endpoint that gives labels does not say how many: state classes=")
    if max_requests < 1 or batch_size < 1 or (rate is not None and not rate > 0):
        raise UsageError(
            f"expected max_requests >= 1, batch_size >= 1 and a rate above 0, got {max_requests}, "
            f"{batch_size} and {rate}"
        )
