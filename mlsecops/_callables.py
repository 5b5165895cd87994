"""Kinds of callables: function, coroutine function, generator function, async generator function.

function + Hooks → wrapped callable of the same kind, with the original's name, doc and signature

Methods, classes, callable instances and `functools.partial` objects are wrapped as their call.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from mlsecops.errors import CallRefused, UsageError

P = ParamSpec("P")
R = TypeVar("R")
Function: TypeAlias = Callable[..., Any]
Before: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Any]


async def _no_step(_held: Any) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions that a decorator runs around each call.

    Attributes:
        before: Takes args and kwargs; its result (`held`) goes to the other hooks.
        before_async: The same for coroutine functions, awaited; `before` by default.
        before_steps: The same for generators; `before` by default.
        at_call: Whether a generator's `before_steps` runs at the call, not at the first step.
        step: Takes `held`, before each step of a generator.
        step_async: The same for async generators, awaited.
        item: Takes `held` and an item of a generator, returns the item for the consumer.
        after: Takes `held` and the result (None of closed and async generators), returns it.
        failed: Takes `held` and the exception that the call raised.
        refused: Takes a `CallRefused` of `before`, returns the answer or items; raises by default.
        no_steps: Why generators are refused; empty if they are not.
        attributes: Attributes of the wrapped callable.
    """

    before: Before = lambda _args, _kwargs: None
    before_async: Callable[[tuple[Any, ...], dict[str, Any]], Awaitable[Any]] | None = None
    before_steps: Before | None = None
    at_call: bool = False
    step: Callable[[Any], None] | None = None
    step_async: Callable[[Any], Awaitable[None]] = _no_step
    item: Callable[[Any, Any], Any] = lambda _held, value: value
    after: Callable[[Any, Any], Any] = lambda _held, value: value
    failed: Callable[[Any, BaseException], None] = lambda _held, _error: None
    refused: Callable[[CallRefused], Any] | None = None
    no_steps: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, refusal: CallRefused) -> Any:
        """Answer to a refused call, or the refusal raised."""
        if self.refused is None:
            raise refusal
        return self.refused(refusal)


def wrap(function: Any, hooks: Callable[[Function], Hooks], *, decorator: str) -> Any:
    """The wrapped callable, of the same kind as the original.

    Raises:
        UsageError: It is not callable, or a generator function where hooks refuse generators.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(wrap(function.__func__, hooks, decorator=decorator))
    if not callable(function):
        raise UsageError(f"{decorator}: expected a function, got {type(function).__name__}")
    made, branch = hooks(function), _branch(function)
    if made.no_steps and branch in {_generator, _async_generator}:
        raise UsageError(
            f"{decorator}: {name_of(function)} is a generator; expected a function or a coroutine "
            f"function: {made.no_steps}"
        )
    wrapped = branch(function, made)
    # The attributes of a callable instance are its state; those of a function are copied.
    updated = functools.WRAPPER_UPDATES if inspect.isroutine(function) else ()
    functools.update_wrapper(wrapped, function, updated=updated)
    wrapped.__name__ = name_of(function)
    vars(wrapped).update(made.attributes)
    return wrapped


def called_first(
    spelling: str, *, takes_functions: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function that makes a decorator refuse to decorate by itself, as in `@monitored`.

    Args:
        spelling: The right use, for the message.
        takes_functions: Whether it may be a function, unless one that this line defines.
    """

    def accept(make: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(make)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            function = args[0] if len(args) == 1 and not kwargs else None
            bare = callable(function) or isinstance(function, classmethod)
            if bare and (not takes_functions or _defined_in(sys._getframe(1), function)):  # noqa: SLF001 - documented in CPython
                raise UsageError(
                    f"{make.__name__}: expected its arguments, got the function "
                    f"{name_of(function)}; write {spelling}"
                )
            return make(*args, **kwargs)

        return called

    return accept


def name_of(function: Any) -> str:
    """Name of a callable: a partial's is its function's, an instance's that of its class."""
    while isinstance(function, functools.partial) and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def signature_of(function: Function) -> inspect.Signature | None:
    """The signature, or None where it is not known (some functions written in C)."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def arguments_by_name(function: Function, *, defaults: bool = False) -> Before:
    """Takes args and kwargs of a call and returns them by name, optionally with the defaults.

    Arguments that do not fit the signature are numbered; the function itself raises for them.
    """
    signature = signature_of(function)

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if signature is not None:
            with contextlib.suppress(TypeError):
                bound = signature.bind(*args, **kwargs)
                if defaults:
                    bound.apply_defaults()
                return bound.arguments
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}

    return named


def _defined_in(frame: types.FrameType, function: Any) -> bool:
    """Whether a `def` of this frame made the function and its name is not bound yet."""
    if isinstance(function, (staticmethod, classmethod)):
        return True
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = name_of(function)
    here = code is not None and any(code is each for each in frame.f_code.co_consts)
    return here and name != "<lambda>" and frame.f_locals.get(name) is not function


def _branch(function: Function) -> Callable[[Function, Hooks], Any]:
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    if not (inspect.isroutine(called) or isinstance(called, type)):
        called = type(called).__call__
    if inspect.isasyncgenfunction(called):
        return _async_generator
    if inspect.isgeneratorfunction(called):
        return _generator
    return _coroutine if inspect.iscoroutinefunction(called) else _plain


def _plain(function: Function, hooks: Hooks) -> Function:
    before, after, failed, refused = hooks.before, hooks.after, hooks.failed, hooks.answer

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            held = before(args, kwargs)
        except CallRefused as refusal:
            return refused(refusal)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            failed(held, error)
            raise
        return after(held, result)

    return call


def _coroutine(function: Function, hooks: Hooks) -> Function:
    before, before_async = hooks.before, hooks.before_async

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            held = (
                before(args, kwargs) if before_async is None else await before_async(args, kwargs)
            )
        except CallRefused as refusal:
            answer = hooks.answer(refusal)
            return await answer if inspect.isawaitable(answer) else answer
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            hooks.failed(held, error)
            raise
        return hooks.after(held, result)

    return call


def _generator(function: Function, hooks: Hooks) -> Any:
    return _begun(function, hooks, _stepping)


def _async_generator(function: Function, hooks: Hooks) -> Any:
    return _begun(function, hooks, _async_stepping)


def _begun(function: Function, hooks: Hooks, stepping: Callable[[Hooks, Function], Any]) -> Any:
    """A generator function whose `before_steps` runs at its call or at its first step."""
    before = hooks.before_steps or hooks.before
    if hooks.at_call:

        def at_call(*args: Any, **kwargs: Any) -> tuple[Any, Function]:
            held = before(args, kwargs)
            source = function(*args, **kwargs)
            return held, lambda: source

        return _AtCall(stepping(hooks, _same), at_call)

    def at_first_step(*args: Any, **kwargs: Any) -> tuple[Any, Function]:
        return before(args, kwargs), functools.partial(function, *args, **kwargs)

    return stepping(hooks, at_first_step)


class _AtCall(functools.partial[Any]):
    """A generator function that runs code at its call; `inspect` unwraps it, as a partial."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.func(self.args[0](*args, **kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> str:
        return str(vars(self)["__qualname__"])


def steps(source: Any, held: Any, hooks: Hooks) -> Generator[Any, Any, Any]:
    """A running generator with the hooks around its steps."""
    return cast("Generator[Any, Any, Any]", _stepping(hooks, _same)((held, lambda: source)))


def async_steps(source: Any, held: Any, hooks: Hooks) -> AsyncGenerator[Any, Any]:
    """A running async generator with the hooks around its steps."""
    return cast("AsyncGenerator[Any, Any]", _async_stepping(hooks, _same)((held, lambda: source)))


def _same(started: Any) -> Any:
    return started


def _stepping(hooks: Hooks, begin: Function) -> Function:
    ask = hooks.step

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            held, make = begin(*args, **kwargs)
        except CallRefused as refusal:
            return (yield from hooks.answer(refusal))
        try:
            source = make()
            result = yield from (source if ask is None else _asked(source, held, ask, hooks.item))
        except GeneratorExit:
            hooks.after(held, None)
            raise
        except BaseException as error:
            hooks.failed(held, error)
            raise
        return hooks.after(held, result)

    return call


def _asked(source: Any, held: Any, ask: Function, label: Function) -> Generator[Any, Any, Any]:
    """Steps with a hook before each; what the consumer sends or throws reaches the source."""
    step: Function = source.__next__
    try:
        while True:
            ask(held)
            try:
                item = label(held, step())
            except StopIteration as end:
                return end.value
            try:
                step = functools.partial(source.send, (yield item))
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - the source decides about it
                step = functools.partial(source.throw, error)
    finally:
        source.close()


def _async_stepping(hooks: Hooks, begin: Function) -> Function:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        try:
            held, make = begin(*args, **kwargs)
        except CallRefused as refusal:
            async for item in _items(hooks.answer(refusal)):
                yield item
            return
        try:
            async with contextlib.aclosing(make()) as source:
                step: Function = source.__anext__
                while True:
                    await hooks.step_async(held)
                    item = hooks.item(held, await step())
                    try:
                        step = functools.partial(source.asend, (yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - the source decides about it
                        step = functools.partial(source.athrow, error)
        except (StopAsyncIteration, GeneratorExit) as end:
            hooks.after(held, None)
            if isinstance(end, GeneratorExit):
                raise
        except BaseException as error:
            hooks.failed(held, error)
            raise

    return call


async def _items(answer: Any) -> AsyncGenerator[Any, None]:
    if isinstance(answer, AsyncIterable):
        async for item in answer:
            yield item
    else:
        for item in answer:
            yield item
