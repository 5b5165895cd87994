"""Exchange of function bodies: every alias of a loading function passes through a callback.

table of calls → functions of imported modules, and of those imported later → their code exchanged
→ callback(call, original, args, kwargs) → restored

The function object stays the same, so `from torch import load`, made before or after, is met too.
A compiled class cannot be changed: the name that leads to it is exchanged in every module.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeAlias

from mlsecops.errors import MLSecOpsWarning
from mlsecops.integrations.protection.calls import CALLS, SAFE_OPEN, Call

__all__ = ["install", "passed", "uninstall"]

Callback: TypeAlias = Callable[[Call, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
_KEY: Final = "key of the call"
_MODULES: Final = frozenset(call.module for call in (*CALLS.values(), SAFE_OPEN))


class _State:
    """What is exchanged now: nothing, or all that the table finds."""

    callback: Callback | None = None
    functions: Final[dict[str, tuple[FunctionType, CodeType]]] = {}
    originals: Final[dict[str, Callable[..., Any]]] = {}
    opener: Callable[..., Any] | None = None


def _body(*args: Any, **kwargs: Any) -> Any:
    # Runs with the globals of the exchanged function, so that it must import what it needs.
    from mlsecops.integrations.protection.patching import passed  # noqa: PLC0415 - as said

    return passed("key of the call", args, kwargs)


def passed(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pass an exchanged function's call on.

    Args:
        key: Name of the call in the table.
        args: Positional arguments.
        kwargs: Further arguments.
    """
    original = _State.originals[key]
    if _State.callback is None:  # exchanged back while the call began
        return original(*args, **kwargs)
    return _State.callback(CALLS[key], original, args, kwargs)


def install(callback: Callback) -> None:
    """Exchange the functions of the table, now and in modules that are imported later."""
    _State.callback = callback
    for name in _MODULES:
        if name in sys.modules:
            _exchange(name)
    sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Put back what was there."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _FINDER]
    _State.callback = None
    for function, code in _State.functions.values():
        function.__code__ = code
        vars(function).pop("__signature__", None)
    _State.functions.clear()
    if _State.opener is not None:
        _rename(_State.opener, _State.originals[SAFE_OPEN.key])
        _State.opener = None


def _exchange(module: str) -> None:
    found = sys.modules[module]
    for key, call in CALLS.items():
        if call.module == module and key not in _State.functions:
            function = _function(found, call.name)
            if function is None:
                warnings.warn(
                    f"{key}: expected a function to protect, got none in this version of "
                    f"{module.partition('.')[0]}; what it loads is not verified",
                    MLSecOpsWarning,
                    stacklevel=2,
                )
                continue
            _exchange_body(key, function)
    if module == SAFE_OPEN.module and _State.opener is None:
        _exchange_class(found)


def _function(module: ModuleType, name: str) -> FunctionType | None:
    owner: Any = module
    *parents, last = name.split(".")
    for part in parents:
        owner = getattr(owner, part, None)
    found = inspect.getattr_static(owner, last, None)
    found = getattr(found, "__func__", found)
    return found if isinstance(found, FunctionType) else None


def _exchange_body(key: str, function: FunctionType) -> None:
    code = function.__code__
    original = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    original.__qualname__, original.__module__ = function.__qualname__, function.__module__
    if not hasattr(function, "__wrapped__"):
        function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    template = _body.__code__
    function.__code__ = template.replace(
        co_consts=tuple(key if each == _KEY else each for each in template.co_consts),
        co_name=code.co_name,
        co_freevars=code.co_freevars,  # a function's cells must fit its code
    )
    _State.originals[key] = original
    _State.functions[key] = function, code


def _exchange_class(module: ModuleType) -> None:
    original = module.safe_open

    @functools.wraps(original, updated=())
    def safe_open(*args: Any, **kwargs: Any) -> Any:
        if _State.callback is None:
            return original(*args, **kwargs)
        return _State.callback(SAFE_OPEN, original, args, kwargs)

    _State.originals[SAFE_OPEN.key] = original
    _State.opener = safe_open
    _rename(original, safe_open)


def _rename(old: Any, new: Any) -> None:
    """Let every module that has a name for a value have it for another."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict):
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new


class _Finder:
    """Finder of modules whose functions are exchanged once they are executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that exchanges afterwards."""
        if name not in _MODULES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                if _State.callback is not None:
                    _exchange(name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this spec only
        return spec


_FINDER: Final = _Finder()
