"""Lazily imported public names of a package.

    block `if TYPE_CHECKING: from home import Name as Name`
        → type checkers, import-linter → the imports themselves
        → `lazy_face` → `__all__`, `__getattr__` (imports `home` at first use), `__dir__`

The block is the only list of names. `lazy_face` reads it from the compiled package, which holds
the imports though they never run, so that no source file is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dis import get_instructions
from importlib import import_module
from types import CodeType
from typing import Any, TypeAlias

Face: TypeAlias = tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]


def lazy_face() -> Face:
    """Make the calling package's `__all__`, `__getattr__` and `__dir__`.

    Every name that its code imports from this library and that is not there yet is public. A class
    that is served refuses arguments that its constructor or a method does not have (`named`).
    """
    caller = sys._getframe(1)  # noqa: SLF001 - the running code: a loader may not give it again
    namespace = caller.f_globals
    package = namespace["__name__"]
    home_of = {
        name: home
        for home, name in _imports(caller.f_code)
        if home.startswith("mlsecops.") and name not in namespace
    }

    def serve(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(home), name)
        if isinstance(value, type):
            from mlsecops._choices import named  # noqa: PLC0415 - at the first use of a name

            named(value)
        return value

    def names() -> list[str]:
        return sorted({*home_of, *({"__version__"} & namespace.keys())})

    return sorted(home_of), serve, names


def _imports(code: CodeType) -> Iterator[tuple[str, str]]:
    """Module and name of each `from module import name`."""
    module = ""
    for step in get_instructions(code):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        elif step.opname == "IMPORT_FROM":
            yield module, step.argval
