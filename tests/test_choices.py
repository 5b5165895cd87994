"""Argument checks by hand and by annotation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pytest

from mlsecops._choices import checked, number, of_type, one_of, path_of, several, some_of, whole
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from elsewhere import Thing  # type: ignore[import-not-found] # only type checkers would import it


class Checks(Protocol):
    def check(self) -> None: ...


class Good:
    def check(self) -> None: ...


@checked
def call(
    rate: float = 1.0,
    *,
    count: int = 1,
    name: str = "",
    flag: bool = True,
    per: Literal["client", "model"] | None = None,
    version: Literal["serving"] | int = 1,
    names: Iterable[str] = (),
    guards: Sequence[Checks] | Checks = (),
    allowed: Collection[str] = (),
    numbers: tuple[int, ...] = (),
    path: str | os.PathLike[str] = ".",
    table: Mapping[str, int] | None = None,
    hook: Callable[..., Any] | None = None,
    thing: Thing | None = None,
    things: Thing[int] | None = None,
) -> Any:
    """One argument of each kind."""
    del rate, count, name, flag, per, version, guards, allowed, numbers, path, table, hook, thing
    del things
    return names


@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("rate", "fast", "expected a number, got 'fast'"),
        ("rate", True, "expected a number, got True"),
        ("count", 1.5, "expected a whole number, got 1.5"),
        ("name", 3, "expected text, got 3"),
        ("flag", "no", "expected True or False, got 'no'"),
        ("per", "clients", "expected client or model, got 'clients'; write 'client'"),
        ("per", 3, "expected client or model, got 3"),
        ("version", "live", "expected serving or a whole number, got 'live'"),
        ("names", "fraud-*", "expected a list of texts, got 'fraud-*'; write ['fraud-*']"),
        ("names", b"x", "expected a list of texts, got one bytes; put it in a list"),
        ("names", {"a": 1}, "expected a list of texts, got one dict; put it in a list"),
        ("names", [1], "expected a list of texts, got 1 in it"),
        ("names", None, "expected a list of texts, got None"),
        ("guards", print, "got the function print; put it in a list"),
        ("guards", [Good], "got the class Good in it"),
        ("allowed", "os.system", "write ['os.system']"),
        ("numbers", 3, "expected a list of whole numbers, got 3"),
        ("path", 3, "expected a path, got 3"),
        ("path", "a\0b", "expected a path, got"),
        ("path", "", "expected a path, got ''"),
        ("path", "\ud800", "expected a path, got"),
        ("path", f"a/{'n' * 256}", "expected a path, got"),
        ("path", "n/" * 2048, "expected a path, got"),
        ("table", [("a", 1)], "expected a mapping, got one list"),
        ("hook", "len", "expected a function, got 'len'"),
    ],
)
def test_a_wrong_argument_is_named(argument: str, wrong: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(**{argument: wrong})
    assert str(caught.value).startswith(f"{argument}: expected ")
    assert message in str(caught.value)


def test_right_arguments_pass_as_they_are() -> None:
    given = ["a", "b"]
    numbers: dict[str, Any] = {"rate": np.float32(2), "count": np.int64(3), "flag": np.True_}
    assert call(**numbers, names=given) is given
    assert call(names=iter("ab")) == ("a", "b")
    call(per=None, version=2, guards=Good(), path=Path(), thing=3, things=4, table={}, hook=len)
    call(guards=[Good()], allowed=frozenset({"a"}), numbers=(1,), path="x" * 255)
    call(path=f"https://bucket.example/m?signature={'s' * 256}")


def test_missing_and_unknown_arguments_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="unexpected keyword argument 'nmaes'"):
        call(nmaes=[])  # type: ignore[call-arg] # on purpose


def test_the_constructor_of_a_class_is_checked() -> None:
    @checked
    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: float
        names: tuple[str, ...] = ()

    assert dataclasses.replace(Point(1.0), x=2.0) == Point(2.0)
    for wrong in ({"x": "1"}, {"x": 1.0, "names": "abc"}, {}):
        with pytest.raises(UsageError):
            Point(**wrong)


def test_one_of_and_some_of_suggest_the_nearest() -> None:
    assert one_of("per", "client", ("client", "model")) == "client"
    assert some_of("kinds", ("b", "a"), ("a", "b")) == ("b", "a")
    assert some_of("kinds", frozenset(), ("a", "b")) == ()
    for wrong in ("Client", ["client"], None, 1):
        with pytest.raises(UsageError, match="per: expected client or model"):
            one_of("per", wrong, ("client", "model"))
    with pytest.raises(UsageError, match=r"kinds: expected a list of names, got 'a'"):
        some_of("kinds", "a", ("a", "b"))
    with pytest.raises(UsageError, match=r"got 'gama'; write 'gamma'"):
        some_of("kinds", ["alpha", "gama"], ("alpha", "beta", "gamma"))


def test_several_types_numbers_and_paths() -> None:
    assert several("keys", (each for each in "ab"), "keys") == ("a", "b")
    assert several("guards", [Good()], "guards", "check")
    assert path_of("path", Path("a")) == path_of("path", "a")
    for wrong in (
        lambda: several("keys", Path("a"), "keys"),  # type: ignore[arg-type] # on purpose
        lambda: several("guards", [object()], "guards", "check"),
        lambda: of_type("key", str, str, "text"),
        lambda: path_of("path", b"a"),
        lambda: whole("count", 0, "a number from 1 on"),
        lambda: whole("count", [1], "a number from 1 on"),
        lambda: number("rate", float("nan"), "a rate", lambda _: True),
        lambda: number("rate", "1", "a rate", lambda _: True),
        lambda: number("rate", [True][0], "a rate", lambda _: True),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_no_message_shows_a_key() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG"
    for wrong in (lambda: path_of("path", secret), lambda: several("keys", secret, "keys")):
        with pytest.raises(UsageError) as caught:
            wrong()
        assert "MIGH" not in str(caught.value)
