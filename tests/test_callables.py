"""Kinds of callables × the five decorators: each keeps the kind, or refuses it when decorating."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from mlsecops._callables import Hooks, arguments_by_name, called_first, name_of, wrap
from mlsecops.access import AccessPolicy, Rule, acting_as, requires
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.llm import Session, guarded_tool
from mlsecops.monitoring import LabelOnly, Rounded, hardened, monitored
from mlsecops.provenance import current_run, tracked

ALLOW = AccessPolicy([Rule(subject="ann", action="*", resource="*")])
DECORATORS: dict[str, Callable[[Any], Any]] = {
    "monitored": monitored("callables"),
    "tracked": tracked("callables"),
    "requires": requires("read", resource="x", policy=ALLOW, subject="ann"),
    "guarded_tool": guarded_tool(effect="read", returns="trusted"),
    "hardened": hardened(lambda answer: answer),
}
NO_STEPS = {"tracked", "hardened"}
FACTORIES: dict[str, Callable[..., Any]] = {
    "monitored": monitored,
    "tracked": tracked,
    "requires": requires,
    "guarded_tool": guarded_tool,
    "hardened": hardened,
}


def plain(x: int, *, scale: int = 1) -> int:
    """Documented."""
    return x * scale


async def coroutine(x: int, *, scale: int = 1) -> int:
    """Documented."""
    await asyncio.sleep(0)
    return x * scale


def generator(x: int, *, scale: int = 1) -> Iterator[int]:
    """Documented."""
    yield x * scale


async def stream(x: int, *, scale: int = 1) -> AsyncIterator[int]:
    """Documented."""
    await asyncio.sleep(0)
    yield x * scale


FUNCTIONS = (plain, coroutine, generator, stream)
TESTS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@guarded_tool(effect="read")
def importable(x: int) -> Iterator[int]:
    yield x


def finished(answer: Any) -> Any:
    """The result, or the last item."""

    async def last() -> Any:
        return [item async for item in answer][-1]

    if inspect.iscoroutine(answer):
        return asyncio.run(answer)
    if inspect.isasyncgen(answer):
        return asyncio.run(last())
    return list(answer)[-1] if inspect.isgenerator(answer) else answer


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", DECORATORS)
def test_each_decorator_keeps_the_kind_or_refuses_it(name: str, function: Any) -> None:
    if name in NO_STEPS and function in (generator, stream):
        with pytest.raises(UsageError, match=f"{name}: {function.__name__} is a generator"):
            DECORATORS[name](function)
        return
    made = DECORATORS[name](function)
    assert [test(made) for test in TESTS] == [test(function) for test in TESTS]
    assert (made.__name__, made.__doc__) == (function.__name__, "Documented.")
    assert inspect.signature(made) == inspect.signature(function)
    with Session():
        assert finished(made(2, scale=3)) == 6


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", ["monitored", "requires", "guarded_tool"])
def test_each_kind_binds_as_a_method_of_each_kind(name: str, function: Any) -> None:
    class Model:
        def method(self, x: int) -> Any:
            return function(x)

        method = DECORATORS[name](method)
        static = DECORATORS[name](staticmethod(function))
        inner = staticmethod(DECORATORS[name](function))
        of_class = DECORATORS[name](classmethod(lambda _, x: function(x)))

    assert isinstance(vars(Model)["static"], staticmethod)
    assert isinstance(vars(Model)["of_class"], classmethod)
    with Session():
        for call in (Model().method, Model().static, Model.static, Model.inner, Model.of_class):
            assert finished(call(4)) == 4


class Instance:
    async def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize("name", DECORATORS)
def test_instances_classes_builtins_and_partials_are_wrapped(name: str) -> None:
    with Session():
        assert DECORATORS[name](len)("abc") == 3
        assert DECORATORS[name](dict)(a=1) == {"a": 1}
        part = DECORATORS[name](functools.partial(coroutine, scale=2))
        assert inspect.iscoroutinefunction(part)
        assert part.__name__ == "coroutine"
        assert asyncio.run(part(2)) == 4
        deep = DECORATORS[name](functools.partial(Instance()))
        assert inspect.iscoroutinefunction(deep)
        assert asyncio.run(DECORATORS[name](Instance())(5)) == 5


@pytest.mark.parametrize(
    "wrong",
    [3, "predict", None, property(plain), [plain]],
    ids=["number", "text", "None", "property", "list"],
)
@pytest.mark.parametrize("name", DECORATORS)
def test_what_cannot_be_called_is_refused_when_decorating(name: str, wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected a function, got"):
        DECORATORS[name](wrong)


@pytest.mark.parametrize("name", FACTORIES)
def test_bare_decoration_is_refused_and_shows_the_right_spelling(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}: .* got the function predict; write @{name}\("):

        @FACTORIES[name]
        def predict(x: int) -> int:
            return x

    with pytest.raises(UsageError, match=f"write @{name}"):

        class Model:
            @FACTORIES[name]
            @staticmethod
            def predict(x: int) -> int:
                return x

    with pytest.raises(UsageError, match=f"write @{name}"):

        @FACTORIES[name]
        @monitored("under")
        async def watched(x: int) -> int:
            return x


def test_hardened_takes_functions_of_probabilities_of_every_origin() -> None:
    def coarse(answer: Any) -> Any:
        return [round(each) for each in answer]

    def made(digits: int) -> Any:
        def rounding(answer: Any) -> Any:
            return [round(each, digits) for each in answer]

        return rounding

    outputs: tuple[Any, ...] = (
        coarse,
        made(0),
        functools.partial(sorted, reverse=True),
        lambda _: [1.0, 0.0],
    )
    for output in (*outputs, LabelOnly(), Rounded(decimals=1)):
        assert list(hardened(output)(lambda: [0.9, 0.1])()) in ([1, 0], [0.9, 0.1])
    with pytest.raises(UsageError, match="hardened: expected outputs"):
        hardened(LabelOnly, coarse)  # type: ignore[arg-type] # the parentheses are missing


def test_requires_judges_a_generator_before_its_first_step() -> None:
    ran: list[int] = []
    guard = requires("read", resource="x", policy=ALLOW)

    @guard
    def rows() -> Iterator[int]:
        ran.append(1)
        yield 1

    @guard
    async def lazy() -> AsyncIterator[int]:
        ran.append(1)
        yield 1

    for made in (rows, lazy):
        with pytest.raises(AccessDenied), acting_as("eve"):
            made()  # no step is taken
    assert not ran
    with acting_as("ann"):
        assert finished(rows()) == finished(lazy()) == 1


def test_a_tracked_coroutine_method_is_a_run() -> None:
    class Trainer:
        @tracked("fit")
        async def fit(self, rate: float, steps: int = 2) -> Any:
            await asyncio.sleep(rate * steps * 0)
            return current_run()

    run = asyncio.run(Trainer().fit(rate=0.5))
    assert run.state == "succeeded"
    assert run.hyperparameters == {"rate": 0.5, "steps": 2}
    with pytest.raises(TypeError, match="rate"):
        asyncio.run(Trainer().fit())  # type: ignore[call-arg] # on purpose


def test_hooks_run_around_a_call() -> None:
    seen: list[Any] = []

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        seen.append((args, kwargs))
        return "held"

    hooks = Hooks(
        before=begin,
        after=lambda held, result: (held, result),
        failed=lambda held, error: seen.append((held, type(error).__name__)),
        attributes={"mark": 7},
    )
    made = wrap(plain, lambda _: hooks, decorator="d")
    assert made(2, scale=2) == ("held", 4)
    assert made.mark == 7
    with pytest.raises(TypeError):
        made()
    assert seen == [((2,), {"scale": 2}), ((), {}), ("held", "TypeError")]


def test_a_generator_that_is_judged_at_its_call_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(importable)) is importable


def test_names_and_arguments_of_callables() -> None:
    assert name_of(functools.partial(plain, 1)) == "plain"
    assert name_of(Instance()) == "Instance"
    named = arguments_by_name(plain, defaults=True)
    assert named((2,), {}) == {"x": 2, "scale": 1}
    assert named((), {"scale": 2}) == {"scale": 2}
    assert arguments_by_name(dict)((1,), {"a": 2}) == {"0": 1, "a": 2}

    @called_first("@make()")
    def make(*, option: int = 0) -> int:
        return option

    assert make(option=3) == 3
    with pytest.raises(UsageError, match=r"make: .*write @make\(\)"):
        make(plain)  # type: ignore[call-arg,arg-type] # on purpose
