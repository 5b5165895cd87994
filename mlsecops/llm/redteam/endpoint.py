"""Client for model endpoints with OpenAI's chat completions API.

attempt → JSON request → bounded response → `Answer`, or the reason of the failure. Transient errors
are retried with exponential backoff and jitter. Responses are limited in bytes and in time, and a
server's own words appear in messages only shortened, printable and without the key.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from mlsecops._addresses import public_address, require_private, retry_after
from mlsecops._extras import require
from mlsecops._json import parse_json, parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.answers import MalformedAnswer, completion
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import Caps, Ledger, Usage
from mlsecops.llm.redteam.target import Asked, Channel

_OK: Final = 200  # HTTP status; RFC 9110, section 15.3.1
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_WRONG_REQUEST: Final = frozenset({401, 403, 404, 405})  # a wrong key, model or address
_BYTES: Final = 32 << 10  # bytes of a response around the text; chosen
_BYTES_OF_TOKEN: Final = 64  # bytes of a token's text; chosen, all of it JSON-escaped
_LONGEST_WAIT: Final = 60.0  # seconds; chosen: a server that asks for more fails the attempt
_FIRST_WAIT: Final = 0.25  # seconds before the first retry; chosen, doubled for each further one
_LATER_WAIT: Final = 8.0  # seconds before any retry at most; chosen
_CONNECTING: Final = 10.0  # seconds to connect; chosen
_CONNECT_TRIES: Final = 3  # tries at an address that never answered; chosen: it is then a typo
_SHOWN: Final = 160  # characters of a server's message that are shown; chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A response: status 0 without a response, -1 for one that was discarded."""

    status: int
    data: bytes = b""
    wait: float = 0.0
    reason: str = ""


@concise_repr("name", "model", "caps", "timeout", "retries")
class ChatEndpoint:
    """A language model behind a chat completions API.

    Args:
        url: URL of the API, with or without `/chat/completions`; `http` only on this machine.
        model: Name of the model on the server.
        api_key: Sent as a bearer token; it appears in no report and no message.
        caps: Budget of a campaign.
        answer_tokens: Most tokens of an answer (`max_tokens`), ≥ 1.
        body: Further members of the request, such as `{"temperature": 1}`; None removes a default.
        timeout: Seconds for a whole answer, > 0.
        retries: Further tries after a transient failure (no connection or such a status), ≥ 0.
        unsafe_plain_http: Send prompts and the key unencrypted to another machine.
        transport: httpx's transport; the network by default.
        sleep: Waits for a number of seconds.
        jitter: Returns random numbers in [0, 1), to spread retries.

    Raises:
        UsageError: The URL or an option is out of range.
        MissingExtra: httpx is not installed.

    Source: OpenAI API reference, "Chat Completions"; RFC 9110, section 10.2.3 (Retry-After).
    """

    takes_tools = True

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        caps: Caps = Caps(),  # noqa: B008 - frozen
        answer_tokens: int = 512,
        body: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        retries: int = 6,
        unsafe_plain_http: bool = False,
        transport: Any = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = public_address(url)
        if not unsafe_plain_http:
            require_private(url)
        if answer_tokens < 1 or retries < 0 or not timeout > 0:
            raise UsageError(
                "expected answer_tokens >= 1, retries >= 0 and a timeout above 0, got "
                f"{answer_tokens}, {retries} and {timeout}"
            )
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
            raise UsageError("api_key: expected printable ASCII, got other characters or none")
        self.httpx = require("httpx")
        self.url, self.model, self.caps = _completions(url), model, caps
        self.answer_tokens, self.timeout, self.retries = answer_tokens, timeout, retries
        # Scoring takes time in proportion to the text.
        self.most_bytes = _BYTES + _BYTES_OF_TOKEN * answer_tokens
        self.transport, self.sleep, self.jitter = transport, sleep, jitter
        self._key = api_key
        self._body = {"temperature": 0, "max_tokens": answer_tokens, **(body or {})}
        self.identity = f"{self.url}\n{model}\n{json.dumps(self._body, sort_keys=True)}"

    def request(self, attempt: Attempt) -> bytes:
        """Body of the request for an attempt."""
        value = {
            "model": self.model,
            "messages": [dict(each) for each in attempt.messages],
            **({"tools": [dict(each) for each in attempt.tools]} if attempt.tools else {}),
            **{name: each for name, each in self._body.items() if each is not None},
        }
        return json.dumps(value).encode()

    @asynccontextmanager
    async def channel(self, ledger: Ledger, *, concurrency: int) -> AsyncIterator[Channel]:
        """Open connections for concurrent requests."""
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",  # decompressed data could be of any size
        }
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        async with self.httpx.AsyncClient(
            headers=headers,
            timeout=self.httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECTING)),
            transport=self.transport,
            follow_redirects=False,
            limits=self.httpx.Limits(
                max_connections=concurrency, max_keepalive_connections=concurrency
            ),
        ) as client:
            yield _Connections(self, client, ledger)

    def without_key(self, text: str) -> str:
        """Replace the key in a text that a server may have echoed."""
        return text.replace(self._key, "[key]") if self._key else text


class _Connections:
    def __init__(self, endpoint: ChatEndpoint, client: Any, ledger: Ledger) -> None:
        self._endpoint, self._client, self._ledger = endpoint, client, ledger
        self._reached = self._worked = False

    async def ask(self, attempt: Attempt) -> Asked:
        body = self._endpoint.request(attempt)
        # No tokeniser makes more tokens than a text has bytes.
        most = Usage(requests=1, prompt=len(body), answer=self._endpoint.answer_tokens)
        used = Usage()
        for turn in range(self._endpoint.retries + 1):
            reply, usage = await self._once(body, most)
            used += usage
            self._reached = self._reached or reply.status != 0
            if reply.status == _OK:
                return self._read(reply, used)
            self._require_accepted(reply)
            if reply.status and reply.status not in _TRANSIENT:
                return Asked(answer=None, reason=self._failure(reply), usage=used)
            if reply.wait > _LONGEST_WAIT:
                reason = f"{self._failure(reply)} and asks to wait {reply.wait:.0f} s"
                return Asked(answer=None, reason=reason, usage=used)
            if not self._reached and turn + 1 >= _CONNECT_TRIES:
                break
            if turn < self._endpoint.retries:
                await self._endpoint.sleep(self._pause(turn, reply.wait))
        if not self._reached:
            raise UsageError(f"{self._endpoint.name} cannot be reached: {reply.reason}")
        tries = f"after {self._endpoint.retries + 1} tries"
        return Asked(answer=None, reason=f"{self._failure(reply)} {tries}", usage=used)

    def _pause(self, turn: int, asked: float) -> float:
        backoff: float = min(_FIRST_WAIT * 2**turn, _LATER_WAIT)
        return asked + backoff * (0.5 + self._endpoint.jitter() / 2)

    async def _once(self, body: bytes, most: Usage) -> tuple[_Reply, Usage]:
        self._ledger.reserve(most)
        used = Usage(requests=1)
        try:
            reply = await self._send(body)
            if reply.status == _OK:
                used = _usage(reply.data, most)
        finally:
            self._ledger.settle(most, used)
        return reply, used

    async def _send(self, body: bytes) -> _Reply:
        httpx = self._endpoint.httpx
        try:
            async with (
                asyncio.timeout(self._endpoint.timeout),  # httpx's own restarts with each part
                self._client.stream("POST", self._endpoint.url, content=body) as answer,
            ):
                if answer.headers.get("content-encoding", "identity") != "identity":
                    return _Reply(status=-1, reason="compressed its answer unasked")
                data = bytearray()
                async for part in answer.aiter_raw():
                    data += part
                    if len(data) > self._endpoint.most_bytes:
                        reason = f"answered more than {self._endpoint.most_bytes} bytes"
                        return _Reply(status=-1, reason=reason)
                wait = retry_after(answer.headers.get("retry-after"))
                return _Reply(status=answer.status_code, data=bytes(data), wait=wait)
        except TimeoutError:
            return _Reply(status=0, reason=f"no answer within {self._endpoint.timeout:g} s")
        except httpx.InvalidURL as error:
            raise UsageError(f"{self._endpoint.name}: {error}") from error
        except httpx.HTTPError as error:
            return _Reply(status=0, reason=type(error).__name__)

    def _read(self, reply: _Reply, used: Usage) -> Asked:
        try:
            text = self._endpoint.without_key(reply.data.decode())
            answer = completion(parse_json(text, what="answer", error=ValueError))
        except (ValueError, MalformedAnswer) as error:
            why = str(error) if isinstance(error, MalformedAnswer) else "it is no JSON"
            return Asked(answer=None, reason=f"cannot read the answer: {why}", usage=used)
        self._worked = True
        return Asked(answer=answer, usage=used)

    def _require_accepted(self, reply: _Reply) -> None:
        if reply.status in _WRONG_REQUEST and not self._worked:
            raise UsageError(
                f"{self._endpoint.name} {self._failure(reply)}: check the address, the model "
                f"{self._endpoint.model!r} and the key"
            )

    def _failure(self, reply: _Reply) -> str:
        """A short description of a failure; a server's words are printable and without the key."""
        if reply.reason:
            return reply.reason
        words = self._endpoint.without_key(_message(reply.data))
        plain = "".join(each if each.isprintable() else " " for each in words)[:_SHOWN].strip()
        return f"answered {reply.status}" + (f" ({plain})" if plain else "")


def _completions(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path or '/v1'}/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _message(data: bytes) -> str:
    try:
        found = parse_object(data, what="answer", error=ValueError)["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError):
        return ""


def _usage(data: bytes, most: Usage) -> Usage:
    try:
        used = parse_object(data, what="answer", error=ValueError)["usage"]
        prompt, answer = used["prompt_tokens"], used["completion_tokens"]
    except (ValueError, KeyError, TypeError):
        return most
    if not all(type(each) is int and each >= 0 for each in (prompt, answer)):
        return most
    return Usage(requests=1, prompt=prompt, answer=answer)
