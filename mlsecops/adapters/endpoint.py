"""HTTP endpoint Adapter: a served model without gradients.

batch → JSON request, rate-limited, within a budget → scores → query journal

The journal keeps every answer, so that an interrupted attack repeats no query.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import numpy as np

from mlsecops._addresses import public_address, require_private, retry_after
from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._json import parse_json
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import (
    BlackBox,
    are_probabilities,
    float_rows,
    in_batches,
    log_probabilities,
    softmax,
)
from mlsecops.adapters.query_journal import Journal, key_of
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array

Scores: TypeAlias = Literal["probabilities", "logits", "labels"]

_TRANSIENT: Final = frozenset({429, 502, 503, 504})  # statuses: RFC 6585, RFC 9110 section 15.6
_MOST_BYTES: Final = 64 << 20  # bytes of an answer; chosen: bounds the client's memory
_LONGEST_WAIT: Final = 60.0  # seconds; chosen: a server's longer Retry-After is cut to it
_SUM: Final = 1e-2  # chosen: tolerance for the sum of rounded probabilities


@concise_repr("name", "requests")
class Endpoint(BlackBox):
    """A served classifier.

    The default body is that of TensorFlow Serving and KServe (V1): request
    `{"instances": [...]}`, response `{"predictions": [...]}`.

    Args:
        url: Address for POST requests; `http` only on this machine.
        scores: Content of a response: `"probabilities"` or `"logits"` `(n, k)`, `"labels"` `(n,)`.
        classes: Number of classes `k`; needed for labels, checked for scores.
        max_requests: Most requests in all, over every run with the same journal.
        rate: Most requests per second; unlimited by default.
        batch_size: Inputs per request.
        journal: File of answers, to continue after an interruption.
        headers: Headers of each request (`{"authorization": "…"}`).
        request: Converts a batch `(n, *shape)` to the JSON value of a request.
        response: Extracts the scores from the JSON value of a response.
        channels_first: Whether images are `(n, c, h, w)`.
        timeout: Seconds to wait for a response.
        retries: Retries after a transient failure (no connection, 429, 502, 503, 504).
        unsafe_plain_http: Send inputs and headers unencrypted to another machine.
        transport: httpx transport; the network by default.
        clock: Monotonic clock, in seconds.
        sleep: Waits for a number of seconds.

    Raises:
        UsageError: The address or an option is unusable, or the journal is of another endpoint.
        MissingExtra: httpx is not installed.

    Source: KServe, "V1 Inference Protocol"; TensorFlow Serving, "RESTful API".
    """

    framework = "http"

    @checked
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
        """Requests so far, including those of earlier runs in the journal."""
        return self._journal.requests

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`; one-hot rows if the endpoint returns labels."""
        answers = self._answers(x)
        return softmax(answers) if self._scores == "logits" else answers

    def logits(self, x: Array) -> Array:
        """Logits `(n, k)`, or the logarithm of the endpoint's probabilities."""
        answers = self._answers(x)
        return answers if self._scores == "logits" else log_probabilities(answers)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _answers(self, x: Array) -> Array:
        rows = float_rows(x)
        if not len(rows):
            raise UsageError(f"{self.name}: expected at least one input, got none")
        return in_batches(self._batch, rows, size=self._batch_size)

    def _batch(self, rows: Array) -> Array:
        keys = [key_of(row) for row in rows]
        answers = [self._journal.take(key) for key in keys]
        missing = [index for index, answer in enumerate(answers) if answer is None]
        if missing:
            scores = self._query(rows[missing], [keys[index] for index in missing])
            for index, row in zip(missing, scores.tolist(), strict=True):
                answers[index] = row
        return np.asarray(answers, dtype=np.float32).reshape(len(rows), -1)

    def _query(self, rows: Array, keys: list[str]) -> Array:
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
            if status and status not in _TRANSIENT:
                raise UsageError(f"{self.name} answered {status}: {data[:200]!r}")
            if turn < self._retries:
                self._sleep(min(wait or 0.5 * 2**turn, _LONGEST_WAIT))
        last = f"answered {status}" if status else data.decode()
        raise UsageError(
            f"{self.name} cannot be reached after {self._retries + 1} tries: expected an answer, "
            f"got {last}; start the service, or check the address"
        )

    def _send(self, body: Any) -> tuple[int, bytes, float]:
        """Status (0 for none), body, and the seconds of the Retry-After header."""
        try:
            with self._client.stream("POST", self._url, json=body) as answer:
                data = bytearray()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > _MOST_BYTES:
                        raise UsageError(f"{self.name} answered more than {_MOST_BYTES} bytes")
                wait = retry_after(answer.headers.get("retry-after"))
                return answer.status_code, bytes(data), wait
        except self._httpx.HTTPError as error:
            return 0, f"{type(error).__name__}: {error}".encode(), 0.0

    def _require_budget(self, rows: int) -> None:
        if self._journal.requests >= self._most:
            raise UsageError(
                f"{self.name}: all {self._most} requests are spent and {rows} inputs wait: raise "
                "max_requests; with the same journal no answered query is repeated"
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
        if self._scores == "probabilities" and not are_probabilities(scores, tolerance=_SUM):
            raise UsageError(
                f"{self.name}: expected probabilities, got rows that do not sum to 1: "
                'set scores="logits" if it returns logits'
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


def _require_options(
    scores: str, classes: int | None, max_requests: int, rate: float | None, batch_size: int
) -> None:
    if scores == "labels" and classes is None:
        raise UsageError("classes: expected a number for scores='labels', got None; set classes")
    if max_requests < 1 or batch_size < 1 or (rate is not None and not rate > 0):
        raise UsageError(
            f"expected max_requests >= 1, batch_size >= 1 and a rate above 0, got {max_requests}, "
            f"{batch_size} and {rate}"
        )
