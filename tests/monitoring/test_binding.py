"""All four kinds × four ways of binding keep kind, signature, duration, context, exceptions."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.monitoring import monitored
from mlsecops.monitoring.queue import CallQueue, CallRecord

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
KINDS = ("plain", "coroutine", "generator", "async generator")
BINDINGS = ("function", "method", "static", "class")
FLAGS: dict[str, Callable[[Any], bool]] = {
    "coroutine": inspect.iscoroutinefunction,
    "generator": inspect.isgeneratorfunction,
    "async generator": inspect.isasyncgenfunction,
}
NOW = [0]


def work(x: str) -> str:
    """Two seconds, and what the context says; "bad" raises."""
    NOW[0] += 2 * 10**9
    if x == "bad":
        raise LookupError(x)
    return f"{x} by {WHO.get()}"


def plain(x: str, *, scale: int = 1) -> str:
    """Documented."""
    return work(x) * scale


async def coroutine(x: str, *, scale: int = 1) -> str:
    """Documented."""
    await asyncio.sleep(0)
    return work(x) * scale


def generator(x: str, *, scale: int = 1) -> Iterator[str]:
    """Documented."""
    yield work(x) * scale


async def async_generator(x: str, *, scale: int = 1) -> AsyncIterator[str]:
    """Documented."""
    await asyncio.sleep(0)
    yield work(x) * scale


ORIGINALS: dict[str, Any] = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
}


def bound(kind: str, binding: str) -> tuple[Any, Any]:
    """A watched callable as its caller sees it, and its monitor."""
    original, watch = ORIGINALS[kind], monitored(f"{kind}-{binding}")
    if binding == "function":
        made = watch(original)
        return made, made.monitor
    function = original
    if binding == "method":
        function = _with_first(original, "self")
    elif binding == "class":
        function = classmethod(_with_first(original, "cls"))
    else:
        function = staticmethod(original)
    model = type("Model", (), {"predict": watch(function)})()
    made = model.predict if binding != "static" else type(model).predict
    return made, made.monitor


def _with_first(original: Any, name: str) -> Any:
    """The same function with an argument before the others."""
    code = {
        "plain": "def f({n}, x, *, scale=1): return o(x, scale=scale)",
        "coroutine": "async def f({n}, x, *, scale=1): return await o(x, scale=scale)",
        "generator": "def f({n}, x, *, scale=1): yield from o(x, scale=scale)",
        "async generator": """async def f({n}, x, *, scale=1):
            async for i in o(x, scale=scale): yield i""",
    }
    kind = next(kind for kind, each in ORIGINALS.items() if each is original)
    names: dict[str, Any] = {"o": original}
    exec(code[kind].format(n=name), names)  # noqa: S102 - four kinds of one function
    names["f"].__doc__ = original.__doc__
    return names["f"]


def finished(kind: str, answer: Any) -> Any:
    """What comes out of a call in the end."""

    async def last() -> Any:
        if kind == "coroutine":
            return await answer
        return [item async for item in answer][-1]

    if kind == "plain":
        return answer
    return list(answer)[-1] if kind == "generator" else asyncio.run(last())


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_and_binding_keeps_what_the_caller_sees(
    kind: str, binding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.perf_counter_ns", lambda: NOW[0])
    seen: list[CallRecord] = []
    monkeypatch.setattr(CallQueue, "append", lambda _, event, _size: seen.append(event))
    predict, monitor = bound(kind, binding)

    for name, is_kind in FLAGS.items():
        assert is_kind(predict) is (kind == name)
    assert list(inspect.signature(predict).parameters) == ["x", "scale"]
    assert predict.__doc__ == "Documented."

    WHO.set("ada")
    assert finished(kind, predict("x", scale=2)) == "x by adax by ada"
    with pytest.raises(LookupError, match="bad"):
        finished(kind, predict(x="bad"))
    assert [(event.outcome, event.error, event.seconds) for event in seen] == [
        ("ok", "", pytest.approx(2.0)),
        ("error", "LookupError", pytest.approx(2.0)),
    ]
    assert [event.inputs for event in seen] == ["x", "bad"]
    monitor.close()


class Plain:
    def __init__(self) -> None:
        self.weights = [1.0]

    def __call__(self, x: int) -> int:
        return x + 1


class Async(Plain):
    async def __call__(self, x: int) -> int:  # type: ignore[override] # another kind of call
        await asyncio.sleep(0)
        return x + 1


def test_callable_objects_and_partials_are_of_the_kind_of_their_call() -> None:
    WHO.set("ada")
    plain = monitored("object")(Plain())
    assert plain(1) == 2
    assert not hasattr(plain, "weights")
    watched: Any = monitored("async-object")(Async())
    assert inspect.iscoroutinefunction(watched)
    assert asyncio.run(watched(1)) == 2
    part: Any = monitored("partial")(functools.partial(coroutine, scale=2))
    assert inspect.iscoroutinefunction(part)
    assert asyncio.run(part("x")) == "x by adax by ada"
    builtin = monitored("builtin")(len)
    assert builtin("abc") == 3
    for each in (plain, watched, part, builtin):
        assert each.monitor.flush(5)
        state = each.monitor.snapshot()
        assert (state.calls, state.processed, state.failures) == (1, 1, 0)
        each.monitor.close()
    with pytest.raises(UsageError, match="expected a function"):
        monitored("number")(3)  # type: ignore[arg-type] # on purpose
