"""Argument checks: one of several names, several values, a type, a number in a range.

name of the argument + value → the value, or a `UsageError`: `name: expected X, got Y`
"""

from __future__ import annotations

import builtins
import functools
import inspect
import math
import numbers
import operator
import os
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin

from mlsecops.errors import UsageError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Kind: TypeAlias = "type | tuple[type, ...] | str"

_SHOWN: Final = 60  # characters of a wrong value; chosen: what fits one line of a terminal
_MOST_PATH: Final = 4096  # bytes of a path with its end; Linux: PATH_MAX, limits.h
_MOST_NAME: Final = 255  # bytes of a file's name; Linux: NAME_MAX, limits.h
_SINGLE: Final = (str, bytes, bytearray, memoryview, Mapping, type)


def one_of(argument: str, value: T, choices: Iterable[str]) -> T:
    """One name of several; the error suggests the nearest.

    Examples:
        >>> one_of("per", "clients", ("client", "model"))
        Traceback (most recent call last):
        mlsecops.errors.UsageError: per: expected client or model, got 'clients'; write 'client'
    """
    known = tuple(choices)
    if isinstance(value, str) and value in known:
        return value
    import difflib  # noqa: PLC0415 - only a refusal pays for its import

    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"; write {near[0]!r}" if near else ""
    raise UsageError(f"{argument}: expected {_either(known)}, got {shown(value)}{hint}")


def several(argument: str, values: Iterable[T], what: str, of: Kind = object) -> tuple[T, ...]:
    """Several values `of` a type, which are `what` in the plural; one text or mapping is refused.

    Examples:
        >>> several("models", "m-*", "patterns")
        Traceback (most recent call last):
        mlsecops.errors.UsageError: models: expected a list of patterns, got 'm-*'; write ['m-*']
    """
    if isinstance(values, _SINGLE) or not isinstance(values, Iterable):
        alone = shown(values)
        text = isinstance(values, str) and "-----BEGIN" not in values
        hint = f"; write [{alone}]" if text else "; put it in a list"
        raise UsageError(f"{argument}: expected a list of {what}, got {alone}{hint}")
    items = tuple(values)
    for item in items:
        if not _is(item, of):
            raise UsageError(f"{argument}: expected a list of {what}, got {shown(item)} in it")
    return items


def some_of(argument: str, values: Iterable[T], choices: Iterable[str]) -> tuple[T, ...]:
    """Several names of those that are valid, in the order given; a single text is refused."""
    known = tuple(choices)
    given = several(argument, values, "names")
    return tuple(one_of(argument, value, known) for value in given)


def of_type(argument: str, value: T, kind: Kind, what: str) -> T:
    """A value of a type, or with a method of that name; a class is refused for its instance."""
    if _is(value, kind):
        return value
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def path_of(argument: str, value: Any) -> Path:
    """A path in the file system; PEM text is refused, and names that no file can have."""
    if _is_path(value) and "-----BEGIN" not in os.fspath(value):
        return Path(value)
    raise UsageError(f"{argument}: expected a path, got {shown(value)}")


def printable(argument: str, value: str, hint: str = "") -> str:
    """A name that can be shown in a line: not empty, and without control characters."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise UsageError(f"{argument}: expected printable text, got {shown(value)}{hint}")


def number(argument: str, value: Any, what: str, valid: Callable[[Any], bool]) -> Any:
    """A finite number, not a boolean, for which the condition `what` holds.

    Examples:
        >>> number("rate", -1, "calls a second above 0", lambda rate: rate > 0)
        Traceback (most recent call last):
        mlsecops.errors.UsageError: rate: expected calls a second above 0, got -1
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and math.isfinite(value) and valid(value):
        return value
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def whole(argument: str, value: Any, what: str, least: int = 1) -> int:
    """A whole number from `least` on."""
    try:
        exact = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        exact = least - 1
    if exact >= least:
        return exact
    raise UsageError(f"{argument}: expected {what}, got {shown(value)}")


def checked(target: F) -> F:
    """Check the arguments of a public function, or of a class's constructor, by their annotations.

    `Literal` is one of its names, an iterable is several values and never one text, and a name that
    only type checkers import is not checked. An iterator arrives as a tuple.

    Raises:
        UsageError: When called: an argument is missing, unknown, or not as annotated.

    Examples:
        >>> @checked
        ... def learn(rate: float, layers: Iterable[int] = ()) -> None: ...
        >>> learn("fast")
        Traceback (most recent call last):
        mlsecops.errors.UsageError: rate: expected a number, got 'fast'
    """
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__, target.__module__)  # type: ignore[misc] # its own constructor
        return target
    return cast("F", _checked(target, target.__module__))


def named(target: F) -> F:
    """Check only the names of arguments: of a function, or of a class's constructor and methods.

    Raises:
        UsageError: When called: an argument is missing or unknown. A right call is passed on as
            it is.

    Examples:
        >>> @named
        ... def learn(rate): ...
        >>> learn(speed=1)
        Traceback (most recent call last):
        mlsecops.errors.UsageError: learn: missing a required argument: 'rate'
    """
    if not isinstance(target, type):
        return cast("F", _named(target))
    for owner in target.__mro__:
        own = owner.__module__.partition(".")[0] == "mlsecops"
        for name, member in list(vars(owner).items()) if own and not _is_protocol(owner) else ():
            if name == "__init__" or not name.startswith("_"):
                _name_arguments(owner, name, member)
    return target


def _name_arguments(owner: type, name: str, member: Any) -> None:
    bound = isinstance(member, (classmethod, staticmethod))
    function = member.__func__ if bound else member
    if not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        return
    if not function.__code__.co_flags & _PAUSES:
        setattr(owner, name, type(member)(_named(function)) if bound else _named(function))


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            _bound(inspect.signature(function), function, args, kwargs)
            raise

    return call


def _bound(
    signature: inspect.Signature,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> inspect.BoundArguments:
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(f"{function.__qualname__}: {error}") from None


def _checked(function: Callable[..., Any], module: str) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.cache
    def expected() -> dict[str, _Expected]:
        # At the first call, when every name of the module is defined.
        names = _Names(vars(sys.modules[module]))
        found = {
            name: _expected(_evaluated(parameter.annotation, names))
            for name, parameter in signature.parameters.items()
            if parameter.annotation is not parameter.empty and parameter.kind not in _VARIADIC
        }
        return {name: each for name, each in found.items() if each is not None}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = _bound(signature, function, args, kwargs)
        for name, each in expected().items():
            if name in bound.arguments:
                bound.arguments[name] = each.taken(name, bound.arguments[name])
        return function(*bound.args, **bound.kwargs)

    return call


class _Names(dict[str, Any]):
    """Names of a module; one that only type checkers import is `Any`."""

    def __missing__(self, name: str) -> Any:
        return sys.modules.get(name) or getattr(builtins, name, Any)


def _evaluated(annotation: Any, names: _Names) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, names)  # noqa: S307 - an annotation of this library
    except (AttributeError, TypeError):  # a part of a name that only type checkers import
        return Any


@dataclass(frozen=True, slots=True)
class _Expected:
    """Values that an annotation accepts, with the names of a `Literal` or what items must be."""

    words: str
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    items: _Expected | None = None

    def taken(self, argument: str, value: Any) -> Any:
        if self.accepts(value):
            return value
        if (
            self.items is not None
            and isinstance(value, Iterable)
            and not isinstance(value, _SINGLE)
        ):
            listed = tuple(value) if isinstance(value, Iterator) else value
            for item in listed:
                if self.items.items is not None:
                    self.items.taken(argument, item)
                elif not self.items.accepts(item):
                    raise UsageError(f"{argument}: expected {self.words}, got {shown(item)} in it")
            return listed
        if self.choices:
            return one_of(argument, value, self.choices)
        if self.items is not None:
            return several(argument, value, self.words.removeprefix("a list of "))
        raise UsageError(f"{argument}: expected {self.words}, got {shown(value)}")


def _expected(annotation: Any) -> _Expected | None:
    """What an annotation accepts; None if that is not checked."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return _Expected("None", lambda value: value is None)
    if origin in {Union, types.UnionType}:
        return _union(arguments)
    if origin is Literal:
        names = tuple(each for each in arguments if isinstance(each, str))
        return _Expected(_either(names), lambda value: value in arguments, choices=names)
    if origin in _MANY and (origin is not tuple or arguments[1:] == (...,)):
        item = _expected(arguments[0])
        item = item or _Expected("a value", lambda _: True)
        return _Expected(f"a list of {_plural(item.words)}", lambda _: False, items=item)
    kind = origin or annotation
    if kind in _WORDS:
        return _Expected(*_WORDS[kind])
    if not isinstance(kind, type) or kind in {object, Any, tuple} or kind.__module__ == "numpy":
        return None
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return _Expected(f"{article} {kind.__name__}", _instance_of(kind))


def _union(members: tuple[Any, ...]) -> _Expected | None:
    path = any((get_origin(each) or each) is os.PathLike for each in members)
    found = [_expected(each) for each in members if each is not str or not path]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    named = [each for each in known if each.words != "None"]
    return _Expected(
        _either([each.words for each in named]),
        lambda value: any(each.accepts(value) for each in known),
        choices=named[0].choices if len(named) == 1 else (),
        items=next((each.items for each in named if each.items is not None), None),
    )


def _is_protocol(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _instance_of(kind: type) -> Callable[[Any], bool]:
    if not _is_protocol(kind):
        return lambda value: isinstance(value, kind)
    known = {name for each in kind.__mro__ if each.__module__ != "typing" for name in vars(each)}
    members = [name for name in known if name == "__call__" or not name.startswith("_")]
    return lambda value: _is(value, object) and all(hasattr(value, name) for name in members)


def _plural(words: str) -> str:
    bare = words.replace(" a ", " ").replace(" an ", " ").removeprefix("a ").removeprefix("an ")
    if bare.startswith("list of "):
        return f"lists{bare.removeprefix('list')}"
    return bare if " or " in bare else f"{bare}s"


def _is_path(value: object) -> bool:
    given = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(given, str) or not given or "\0" in given:
        return False
    try:
        encoded = os.fsencode(given)
    except UnicodeEncodeError:
        return False
    content = "\n" in given or "://" in given  # PEM text, a URL
    names = encoded.split(b"/")
    return content or (len(encoded) < _MOST_PATH and len(max(names, key=len)) <= _MOST_NAME)


def _is_number(value: object, kind: type = numbers.Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


_WORDS: Final[dict[Any, tuple[str, Callable[[Any], bool]]]] = {
    str: ("text", lambda value: isinstance(value, str)),
    bytes: ("bytes", lambda value: isinstance(value, (bytes, bytearray, memoryview))),
    # Python's bool, and that of numpy.
    bool: ("True or False", lambda value: type(value).__name__ in {"bool", "bool_"}),
    int: ("a whole number", lambda value: _is_number(value, numbers.Integral)),
    float: ("a number", _is_number),
    os.PathLike: ("a path", _is_path),
    Callable: ("a function", callable),
    Mapping: ("a mapping", lambda value: isinstance(value, Mapping)),
    dict: ("a mapping", lambda value: isinstance(value, Mapping)),
}
_PAUSES: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_MANY: Final = {Iterable, Sequence, Collection, AbstractSet, list, set, frozenset, tuple}


def _is(value: object, kind: Kind) -> bool:
    if isinstance(kind, str):
        return callable(getattr(value, kind, None)) and not isinstance(value, type)
    return isinstance(value, kind) and not isinstance(value, type)


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def shown(value: object) -> str:
    """A wrong value in a message: text and numbers themselves, of others the type.

    PEM text and bytes may be secret, and are not shown.
    """
    if isinstance(value, str):
        quoted = repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
        return "a PEM text" if "-----BEGIN" in value else quoted
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)[:_SHOWN]
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, tuple) and all(isinstance(each, (int, float)) for each in value):
        return repr(value) if len(repr(value)) <= _SHOWN else f"{len(value)} numbers"
    name = getattr(value, "__name__", "") if callable(value) else ""
    return f"the function {name}" if name else f"one {type(value).__name__}"
