"""How each kind of callable is watched: plain, async, generator and async generator.

Each kind has a branch of its own, so that the watched function is of the same kind as the original.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, TypeAlias

from mlsecops.errors import CallRefused
from mlsecops.monitoring.recorder import Recorder

__all__ = ["Fallback", "watch"]

Fallback: TypeAlias = Callable[[CallRefused], Any]
Function: TypeAlias = Callable[..., Any]


def watch(function: Function, recorder: Recorder, fallback: Fallback | None) -> Function:
    """The watched function, of the same kind as the original.

    Args:
        function: What is watched.
        recorder: Records its calls.
        fallback: Gives what a refused call answers, or None to raise the refusal.
    """
    wrapped = _branch(function)(function, recorder, fallback or _refuse)
    # An instance's own attributes are its state, and no function's.
    updated = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()
    functools.update_wrapper(wrapped, function, updated=updated)
    return wrapped


def _branch(function: Function) -> Callable[[Function, Recorder, Fallback], Function]:
    """What watches that kind of callable; an instance is of the kind of its `__call__`."""
    plain = inspect.isroutine(function) or isinstance(function, (functools.partial, type))
    called = function if plain else type(function).__call__
    if inspect.isasyncgenfunction(called):
        return _async_generator
    if inspect.isgeneratorfunction(called):
        return _generator
    return _coroutine if inspect.iscoroutinefunction(called) else _plain


def _refuse(refusal: CallRefused) -> Any:
    raise refusal


def _plain(function: Function, recorder: Recorder, fallback: Fallback) -> Function:
    admit, ended, failed = recorder.admit, recorder.ended, recorder.failed

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            pending = admit(args, kwargs)
        except CallRefused as refusal:
            return fallback(refusal)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            failed(pending, error)
            raise
        ended(pending, result)
        return result

    return call


def _coroutine(function: Function, recorder: Recorder, fallback: Fallback) -> Function:
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            pending = recorder.admit(args, kwargs)
        except CallRefused as refusal:
            answer = fallback(refusal)
            return await answer if inspect.isawaitable(answer) else answer
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            recorder.failed(pending, error)
            raise
        recorder.ended(pending, result)
        return result

    return call


def _generator(function: Function, recorder: Recorder, fallback: Fallback) -> Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            pending = recorder.admit(args, kwargs, current=False)
        except CallRefused as refusal:
            return (yield from fallback(refusal))
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            recorder.ended(pending, None)
            raise
        except BaseException as error:
            recorder.failed(pending, error)
            raise
        recorder.ended(pending, result)
        return result

    return call


def _async_generator(function: Function, recorder: Recorder, fallback: Fallback) -> Function:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        try:
            pending = recorder.admit(args, kwargs, current=False)
        except CallRefused as refusal:
            async for item in _items(fallback(refusal)):
                yield item
            return
        source = function(*args, **kwargs)
        step: Callable[[], Any] = source.__anext__
        try:
            while True:
                item = await step()
                try:
                    step = functools.partial(source.asend, (yield item))
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in by the consumer; the original decides
                    step = functools.partial(source.athrow, error)
        except StopAsyncIteration:
            recorder.ended(pending, None)
        except GeneratorExit:
            recorder.ended(pending, None)
            raise
        except BaseException as error:
            recorder.failed(pending, error)
            raise

    return call


async def _items(answer: Any) -> AsyncGenerator[Any, None]:
    """Items of an iterator of either kind."""
    if isinstance(answer, AsyncIterable):
        async for item in answer:
            yield item
    else:
        for item in answer:
            yield item
