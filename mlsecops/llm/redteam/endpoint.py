"""Client for model endpoints: chat completions, responses and Anthropic messages.

attempt → JSON request → bounded response or stream → `Answer`, or the reason of the failure.
Transient errors are retried with exponential backoff and jitter, permanent ones end the run, and
what a content filter stops is blocked. Responses are limited in bytes and in time, and a server's
own words appear in messages only shortened, printable and without the key.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mlsecops._addresses import public_address, require_private, retry_after
from mlsecops._choices import checked, one_of
from mlsecops._extras import require
from mlsecops._json import parse_json, parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.answer_streams import AnswerStream, ServiceError
from mlsecops.llm.redteam.answers import Answer, MalformedAnswer, member, read_answer
from mlsecops.llm.redteam.attempts import Attempt
from mlsecops.llm.redteam.budget import Caps, Ledger, Usage
from mlsecops.llm.redteam.endpoints.event_stream import END, events
from mlsecops.llm.redteam.endpoints.failures import (
    WRONG_REQUEST,
    FailureLimit,
    kind_of,
    printable_start,
)
from mlsecops.llm.redteam.endpoints.request_shapes import (
    RequestShape,
    SystemRole,
    as_system,
    shape_of,
)
from mlsecops.llm.redteam.target import Asked, Channel
from mlsecops.llm.redteam.telemetry import record_request

Clients: TypeAlias = "asyncio.LifoQueue[Any]"

_ROLES: Final = ("system", "developer", "user")
_OK: Final = 200  # HTTP status; RFC 9110, section 15.3.1
_OK_ERROR: Final = 400  # HTTP status; of an error inside a stream that began well
_BYTES: Final = 32 << 10  # bytes of a response around the text; chosen
_BYTES_OF_TOKEN: Final = 64  # bytes of a token's text; chosen, all of it JSON-escaped
_BYTES_OF_EVENT: Final = 1024  # bytes of a streamed token with its event; chosen
_LONGEST_WAIT: Final = 60.0  # seconds; chosen: a server that asks for more fails the attempt
_FIRST_WAIT: Final = 0.25  # seconds before the first retry; chosen, doubled for each further one
_LATER_WAIT: Final = 8.0  # seconds before any retry at most; chosen
_CONNECTING: Final = 10.0  # seconds to connect; chosen
_CONNECT_TRIES: Final = 3  # tries at an address that never answered; chosen: it is then a typo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A response: status 0 without a response, -1 for one that was discarded."""

    status: int
    data: bytes = b""
    wait: float = 0.0
    reason: str = ""
    streamed: bool = False


@concise_repr("name", "model", "caps", "timeout", "retries")
@checked
class ChatEndpoint:
    """A language model behind an API of chat completions, responses or Anthropic messages.

    Args:
        url: URL of the API; its end (`/chat/completions`, `/responses`, `/messages`) names the
            shape, chat completions by default. `http` only on this machine.
        model: Name of the model on the server.
        api_key: Sent as a bearer token, or in `x-api-key` to Anthropic messages; it appears in no
            report and no message.
        headers: Further headers, such as `{"api-key": …}` of Azure; their values are kept as
            secret as the key.
        stream: Whether to ask for a stream.
        system_role: Role of system messages; `"user"` puts them in front of the user's message,
            for models that take none.
        caps: Budget of a campaign.
        answer_tokens: Most tokens of an answer, ≥ 1.
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

    Source: OpenAI and Anthropic API references; RFC 9110, section 10.2.3 (Retry-After).
    """

    takes_tools = True

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        system_role: SystemRole = "system",
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
        self._secrets = _secrets(api_key, headers or {})
        self.httpx = require("httpx")
        self.shape, self.url = shape_of(url)
        self.model, self.caps = model, caps
        self.answer_tokens, self.timeout, self.retries = answer_tokens, timeout, retries
        # Scoring takes time in proportion to the text.
        token = _BYTES_OF_EVENT if stream else _BYTES_OF_TOKEN
        self.most_bytes = _BYTES + token * answer_tokens
        self.transport, self.sleep, self.jitter = transport, sleep, jitter
        self.stream, self._role = stream, one_of("system_role", system_role, _ROLES)
        self._headers = _headers(self.shape, api_key, headers or {})
        asked = self.shape.streaming if stream else {}
        limit = {"temperature": 0, self.shape.limit: answer_tokens}
        self._body = {**limit, **asked, **(body or {})}
        members = json.dumps(self._body, sort_keys=True)
        self.identity = f"{self.url}\n{model}\n{members}\n{self._role}"

    def request(self, attempt: Attempt) -> bytes:
        """Body of the request for an attempt."""
        messages = as_system(attempt.messages, self._role)
        value = {
            "model": self.model,
            **self.shape.body(messages, attempt.tools),
            **{name: each for name, each in self._body.items() if each is not None},
        }
        return json.dumps(value).encode()

    @asynccontextmanager
    async def channel(self, ledger: Ledger, *, concurrency: int) -> AsyncIterator[Channel]:
        """Open connections for concurrent requests."""
        # A client with one connection each: a pool of many looks through all of them each time.
        free: Clients = asyncio.LifoQueue()
        verify = self.url.startswith("https:") and self.httpx.create_ssl_context()  # slow: 0.25 s
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client(verify))
            free.put_nowait(client)
            for _ in range(concurrency - 1):
                if self.transport is None:
                    client = await stack.enter_async_context(self._client(verify))
                free.put_nowait(client)
            yield _Connections(self, free, ledger)

    def _client(self, verify: Any) -> Any:
        return self.httpx.AsyncClient(
            headers=self._headers,
            timeout=self.httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECTING)),
            transport=self.transport,
            follow_redirects=False,
            verify=verify,
        )

    def without_key(self, text: str) -> str:
        """Replace the key and secret headers in a text that a server may have echoed."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


def _secrets(api_key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Values to keep out of texts; raises `UsageError` for what no header can hold."""
    named = {"api_key": api_key, **{f"headers[{name!r}]": value for name, value in headers.items()}}
    given = {name: value for name, value in named.items() if value is not None}
    for name, value in given.items():
        if not (isinstance(value, str) and value.isascii() and value.isprintable() and value):
            raise UsageError(f"{name}: expected printable ASCII, got other characters or none")
    for name in headers:
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise UsageError(f"headers: expected names of letters, digits and -, got {name!r}")
    return tuple(sorted((each for each in given.values() if len(each) > 3), key=len, reverse=True))  # noqa: PLR2004 - shorter ones are no secrets


def _headers(
    shape: RequestShape, api_key: str | None, headers: Mapping[str, str]
) -> dict[str, str]:
    key = {} if api_key is None else {"x-api-key": api_key}
    if api_key is not None and shape.bearer:
        key = {"authorization": f"Bearer {api_key}"}
    return {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",  # decompressed data could be of any size
        **shape.headers,
        **key,
        **{name.lower(): value for name, value in headers.items()},
    }


class _Connections:
    def __init__(self, endpoint: ChatEndpoint, free: Clients, ledger: Ledger) -> None:
        self._endpoint, self._free, self._ledger = endpoint, free, ledger
        self._reached = False
        self._limit = FailureLimit(endpoint.name)

    async def ask(self, attempt: Attempt) -> Asked:
        body = self._endpoint.request(attempt)
        # No tokeniser makes more tokens than a text has bytes.
        most = Usage(requests=1, prompt=len(body), answer=self._endpoint.answer_tokens)
        used = Usage()
        for turn in range(self._endpoint.retries + 1):
            self._limit.check()
            reply, usage = await self._once(body, most)
            used += usage
            self._reached = self._reached or reply.status != 0
            if reply.status == _OK:
                return self._read(reply, used)
            ended = self._ended(reply, used)
            if ended is not None:
                return ended
            if reply.wait > _LONGEST_WAIT:
                reason = f"{self._failure(reply)} and asks to wait {reply.wait:.0f} s"
                return Asked(answer=None, reason=reason, usage=used)
            if not self._reached and turn + 1 >= _CONNECT_TRIES:
                break
            if turn < self._endpoint.retries:
                await self._endpoint.sleep(self._pause(turn, reply.wait))
        if not self._reached:
            raise UsageError(
                f"{self._endpoint.name} cannot be reached: expected an answer, got {reply.reason}; "
                "start the service, or check the address"
            )
        tries = f"after {self._endpoint.retries + 1} tries"
        return Asked(answer=None, reason=f"{self._failure(reply)} {tries}", usage=used)

    def _pause(self, turn: int, asked: float) -> float:
        backoff: float = min(_FIRST_WAIT * 2**turn, _LATER_WAIT)
        return asked + backoff * (0.5 + self._endpoint.jitter() / 2)

    async def _once(self, body: bytes, most: Usage) -> tuple[_Reply, Usage]:
        self._ledger.reserve(most)
        used, start = Usage(requests=1), time.monotonic()
        try:
            reply = await self._send(body)
            if reply.status == _OK:
                used = _usage(reply, most)
        finally:
            self._ledger.settle(most, used)
        record_request(
            self._endpoint.model,
            time.monotonic() - start,
            prompt=used.prompt,
            answer=used.answer,
            failure=None if reply.status == _OK else str(reply.status),
        )
        return reply, used

    async def _send(self, body: bytes) -> _Reply:
        client = await self._free.get()
        try:
            return await self._sent(client, body)
        finally:
            self._free.put_nowait(client)

    async def _sent(self, client: Any, body: bytes) -> _Reply:
        httpx = self._endpoint.httpx
        try:
            async with (
                asyncio.timeout(self._endpoint.timeout),  # httpx's own restarts with each part
                client.stream("POST", self._endpoint.url, content=body) as answer,
            ):
                if answer.headers.get("content-encoding", "identity") != "identity":
                    return _Reply(status=-1, reason="compressed its answer unasked")
                data = bytearray()
                async for part in answer.aiter_raw():
                    data += part
                    if len(data) > self._endpoint.most_bytes:
                        reason = f"answered more than {self._endpoint.most_bytes} bytes"
                        return _Reply(status=-1, reason=reason)
                return _Reply(
                    status=answer.status_code,
                    data=bytes(data),
                    wait=retry_after(answer.headers.get("retry-after")),
                    streamed=_is_stream(answer.headers.get("content-type", "")),
                )
        except TimeoutError:
            return _Reply(status=0, reason=f"no answer within {self._endpoint.timeout:g} s")
        except httpx.InvalidURL as error:
            raise UsageError(f"{self._endpoint.name}: {error}") from error
        except httpx.HTTPError as error:
            return _Reply(status=0, reason=type(error).__name__)

    def _ended(self, reply: _Reply, used: Usage) -> Asked | None:
        """The outcome of a failure that no further try changes; None for a transient one."""
        if reply.status == 0:
            return None
        error = _error(reply.data) if reply.status > 0 else None
        kind = kind_of(reply.status, error, retry_after=reply.wait > 0)
        if kind == "blocked":
            return self._blocked(used)
        reason = self._failure(reply)
        if kind == "permanent":
            self._limit.failed(reason, at_once=reply.status in WRONG_REQUEST)
        return None if kind == "transient" else Asked(answer=None, reason=reason, usage=used)

    def _blocked(self, used: Usage) -> Asked:
        self._limit.succeeded()
        return Asked(answer=Answer(text="", blocked=True), usage=used)

    def _read(self, reply: _Reply, used: Usage) -> Asked:
        try:
            text = self._endpoint.without_key(reply.data.decode())
            answer = _streamed(text).answer() if reply.streamed else _whole(text)
        except ServiceError as error:
            if kind_of(_OK_ERROR, error.error) == "blocked":
                return self._blocked(used)
            said = printable_start(self._endpoint.without_key(str(error)))
            return Asked(answer=None, reason=f"its stream ended in an error: {said}", usage=used)
        except (ValueError, MalformedAnswer) as error:
            why = str(error) if isinstance(error, MalformedAnswer) else "it is no JSON"
            return Asked(answer=None, reason=f"cannot read the answer: {why}", usage=used)
        self._limit.succeeded()
        return Asked(answer=answer, usage=used)

    def _failure(self, reply: _Reply) -> str:
        """A short description of a failure; a server's words are printable and without the key."""
        if reply.reason:
            return reply.reason
        error = _error(reply.data)
        words = str(member(error, "message") or (error if isinstance(error, str) else ""))
        plain = printable_start(self._endpoint.without_key(words))
        return f"answered {reply.status}" + (f" ({plain})" if plain else "")


def _is_stream(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _whole(text: str) -> Answer:
    value = parse_json(text, what="answer", error=ValueError)
    if not isinstance(value, dict) or not {"choices", "output", "content"} & value.keys():
        raise MalformedAnswer("it has no choices")
    return read_answer(value)


def _streamed(text: str) -> AnswerStream:
    stream = AnswerStream()
    for data in events(text.encode()):
        if data == END:
            stream.end()
        else:
            stream.add(data)
    return stream


def _error(data: bytes) -> Any:
    """The description of an error: a mapping, a text, or "" for none."""
    try:
        body = parse_object(data, what="answer", error=ValueError)
    except ValueError:
        return ""
    found = body.get("error", body)
    return found if isinstance(found, dict) else str(found)


def _usage(reply: _Reply, most: Usage) -> Usage:
    """Tokens by the server's word; the most where it says nothing that makes sense."""
    try:
        if reply.streamed:
            used: Any = _streamed(reply.data.decode("utf-8", "replace")).usage
        else:
            used = parse_object(reply.data, what="answer", error=ValueError)["usage"]
        prompt = used.get("prompt_tokens", used.get("input_tokens"))
        answer = used.get("completion_tokens", used.get("output_tokens"))
    except (ValueError, KeyError, AttributeError, ServiceError, MalformedAnswer):
        return most
    if not all(type(each) is int and each >= 0 for each in (prompt, answer)):
        return most
    return Usage(requests=1, prompt=prompt, answer=answer)
