"""Decorator that measures the calls of a language model, streams included.

call → prompt digest, guard → function → answer or stream → `ObservedAnswer` → metrics, span

The function keeps its kind, result, exceptions and pieces. It may be plain or async, a generator of
either kind, or return a stream: an iterator, or an object of a client that is iterated.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from mlsecops._callables import Hooks, called_first, signature_of, wrap
from mlsecops._choices import checked, one_of
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm.guard.prompt_texts import prompt_texts
from mlsecops.llm.guard.telemetry import digest_of
from mlsecops.llm.redteam.answers import member
from mlsecops.llm.serving.metrics import MeasuredRequest, Role, record, start_span
from mlsecops.llm.serving.observed_answer import ABANDONED, ObservedAnswer
from mlsecops.llm.serving.usage import TokenPrice

__all__ = ["instrument_chat"]

P = ParamSpec("P")
R = TypeVar("R")
_SNAPSHOTS: Final = ("current_message_snapshot", "current_completion_snapshot")
_PROMPTS: Final = ("messages", "input", "prompt", "contents")  # arguments of the usual clients


class PromptCheck(Protocol):
    """A guard of prompts, such as `prompt_guard()`."""

    def check(self, client: str | None, inputs: Any) -> None:
        """Let a prompt pass, or raise `CallRefused`."""


@called_first('@instrument_chat(model="MODEL")')
@checked
def instrument_chat(
    *,
    model: str,
    provider: str = "",
    name: str = "chat",
    role: Role = "server",
    prices: Mapping[str, TokenPrice] | TokenPrice | None = None,
    guard: PromptCheck | None = None,
    inputs: Callable[..., Any] | None = None,
    spans: bool = True,
    content: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure a function that asks a language model, by OpenTelemetry's `gen_ai.*` conventions.

    Recorded are the duration, the time to the first token and for each further one, tokens, cost,
    reasons of ends and refusals. A refusal is what the model or the service marks as one; wording
    is not judged. Tokens are those that the service reports: a stream of OpenAI's does so with
    `stream_options={"include_usage": True}`. Answers without tokens or price have a count of
    their own.

    Args:
        model: `gen_ai.request.model`.
        provider: `gen_ai.provider.name` (`"openai"`, `"anthropic"`, …), by the conventions.
        name: `mlsecops.monitor` of the span.
        role: `"server"` for an application that serves the model, `"client"` for one that asks a
            service: which of the conventions' metrics are recorded.
        prices: Price of the model, or prices by the name of a model.
        guard: Checks the prompt before the call and may refuse it; counts injections as
            `mlsecops.llm.prompt.checks`.
        inputs: Takes the call's arguments, returns the prompt; by default `messages`, `input`,
            `prompt`, or the first argument.
        spans: Whether each call is a span `chat MODEL`, with digests of prompt and answer.
        content: Whether spans bear the texts too.
        clock: Seconds, monotonic.

    Raises:
        UsageError: An argument is of another type, or no function is decorated.

    Examples:
        >>> @instrument_chat(model="echo")
        ... def answer(prompt):
        ...     yield from prompt.split()
        >>> list(answer("a b"))
        ['a', 'b']
    """
    if not model:
        raise UsageError("model: expected a name, got ''")
    one_of("role", role, ("server", "client"))
    labels = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
    if provider:
        labels["gen_ai.provider.name"] = provider
    known = {model: prices} if isinstance(prices, TokenPrice) else dict(prices or {})

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        meter = _Meter(
            name=name, role=role, labels=labels, prices=known, guard=guard,
            inputs=inputs or _prompt_of(function), spans=spans, content=content, clock=clock,
        )  # fmt: skip
        hooks = Hooks(
            before=meter.begin,
            step=_asked,
            item=_passed,
            after=_ended,
            failed=_failed,
        )
        return wrap(function, lambda _: hooks, decorator="instrument_chat")  # type: ignore[no-any-return] # of the same kind

    return decorate


class _Meter:
    """Options of a decorated function; `begin` makes a call of it."""

    def __init__(
        self,
        *,
        inputs: Callable[..., Any],
        guard: PromptCheck | None,
        spans: bool,
        content: bool,
        clock: Callable[[], float],
        **facts: Any,
    ) -> None:
        self._inputs, self._guard, self._facts = inputs, guard, facts
        self._spans, self._content, self._clock = spans, content, clock

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """A call of the function, after its guard."""
        began = self._clock()
        prompt = self._inputs(*args, **kwargs) if self._guard or self._spans else None
        span = self._span(prompt) if self._spans else None
        request = MeasuredRequest(began=began, span=span, **self._facts)
        call = _Call(request, ObservedAnswer(self._clock, content=self._content), self._clock)
        if self._guard is not None:
            try:
                self._guard.check(None, prompt)
            except BaseException as error:
                call.end(error)
                raise
        return call

    def _span(self, prompt: Any) -> Any:
        try:
            texts = list(prompt_texts(prompt))
        except Exception:  # noqa: BLE001 - a prompt of another form has no digest
            texts = []
        facts = {"mlsecops.llm.prompt.digest": digest_of("\n".join(texts))} if texts else {}
        if texts and self._content:
            facts["gen_ai.input.messages"] = json.dumps(texts, ensure_ascii=False)
        return start_span(self._facts["name"], self._facts["labels"], facts)


@concise_repr()
class _Call:
    """One call, from its start to the end of its answer; it ends once."""

    def __init__(
        self, request: MeasuredRequest, answer: ObservedAnswer, clock: Callable[[], float]
    ) -> None:
        self._request, self.answer, self._clock = request, answer, clock
        self._open = True
        self.waits = True  # for a piece; not while the consumer has one

    def end(self, error: BaseException | None = None) -> None:
        """Record the call."""
        if self._open:
            self._open = False
            kind = "" if error is None else type(error).__name__
            record(self._request, self.answer, ended=self._clock(), error=kind)


def _asked(call: _Call) -> None:
    call.waits = True


def _passed(call: _Call, item: Any) -> Any:
    call.waits = False
    call.answer.piece(item)
    return item


def _failed(call: _Call, error: BaseException) -> None:
    call.end(error)


def _ended(call: _Call, result: Any) -> Any:
    """The result of a function, which may be a stream; None of a generator that ended."""
    if _is_stream(result):
        return _Stream(call, result)
    if inspect.isawaitable(result):
        return _awaited(call, result)
    if _is_context(result):
        return _Context(call, result)
    if result is not None and not call.answer.pieces:
        call.answer.whole(result)
    if not call.waits:
        call.answer.finish = call.answer.finish or ABANDONED
    call.end()
    return result


async def _awaited(call: _Call, result: Any) -> Any:
    try:
        value = await result
    except BaseException as error:
        call.end(error)
        raise
    return _ended(call, value)


def _is_stream(value: Any) -> bool:
    """Whether an answer is read once, by steps; records, arrays and sets are iterable too."""
    steps = any(hasattr(type(value), name) for name in ("__next__", "__anext__", "__aiter__"))
    closed = hasattr(type(value), "__iter__") and hasattr(type(value), "close")
    return (steps or closed) and _is_plain(value)


def _is_context(value: Any) -> bool:
    """Whether an answer is a context whose value is the stream, as clients' helpers give."""
    entered = hasattr(type(value), "__enter__") or hasattr(type(value), "__aenter__")
    return entered and not isinstance(value, (str, bytes, Mapping)) and _is_plain(value)


def _is_plain(value: Any) -> bool:
    return all(member(value, name) is None for name in ("choices", "content", "output"))


@concise_repr()
class _Context:
    """A client's context around a stream, which is observed once it is entered."""

    def __init__(self, call: _Call, manager: Any) -> None:
        self._call, self._manager = call, manager
        self._entered: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def __enter__(self) -> Any:
        try:
            self._entered = self._manager.__enter__()
        except BaseException as error:  # clients send the request here
            self._call.end(error)
            raise
        return _Stream(self._call, self._entered, ends=False)

    def __exit__(self, *error: object) -> Any:
        self._close()
        return self._manager.__exit__(*error)

    async def __aenter__(self) -> Any:
        try:
            self._entered = await self._manager.__aenter__()
        except BaseException as error:
            self._call.end(error)
            raise
        return _Stream(self._call, self._entered, ends=False)

    async def __aexit__(self, *error: object) -> Any:
        self._close()
        return await self._manager.__aexit__(*error)

    def _close(self) -> None:
        for name in _SNAPSHOTS:
            with contextlib.suppress(Exception):  # a stream that was not read has none
                if (state := getattr(self._entered, name, None)) is not None:
                    self._call.answer.snapshot(state)
                    break
        _leave(self._call)

    def __del__(self) -> None:
        _leave(self._call)


@concise_repr()
class _Stream:
    """A client's stream with its pieces observed; its other attributes are the client's."""

    def __init__(self, call: _Call, stream: Any, *, ends: bool = True) -> None:
        self._call, self._stream, self._ends = call, stream, ends
        self._steps: Any = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return _Stream(self._call, found, ends=False) if name == "text_stream" else found

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._steps = iter(self._stream) if self._steps is None else self._steps
        try:
            item = next(self._steps)
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._call.end(error)
            raise
        return _passed(self._call, item)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        self._steps = aiter(self._stream) if self._steps is None else self._steps
        try:
            item = await anext(self._steps)
        except StopAsyncIteration:
            self._end()
            raise
        except BaseException as error:
            self._call.end(error)
            raise
        return _passed(self._call, item)

    def __enter__(self) -> Any:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        _leave(self._call)
        return self._stream.__exit__(*error)

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        _leave(self._call)
        return await self._stream.__aexit__(*error)

    def close(self) -> Any:
        """Close the stream, as its client does."""
        _leave(self._call)
        return self._stream.close()

    def _end(self) -> None:
        if self._ends:
            self._call.end()

    def __del__(self) -> None:
        if self._ends:
            _leave(self._call)


def _leave(call: _Call) -> None:
    """Note that the consumer is done, before the end or after it."""
    call.answer.finish = call.answer.finish or ABANDONED
    call.end()


def _prompt_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Takes a call's arguments, returns the prompt by its usual names, or the first argument."""
    signature = signature_of(function)
    names = [] if signature is None else list(signature.parameters)
    start = 1 if names[:1] in (["self"], ["cls"]) else 0

    def prompt(*args: Any, **kwargs: Any) -> Any:
        named = next((kwargs[name] for name in _PROMPTS if name in kwargs), None)
        if named is not None:
            return named
        place = next((names.index(name) for name in _PROMPTS if name in names), start)
        if len(args) > place:
            return args[place]
        return kwargs.get(names[place]) if len(names) > place else None

    return prompt
