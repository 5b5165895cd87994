"""Call rules of allowed names: sizes first, then the contract learned from honest files.

A target's name, the way it is called and its symbolic arguments come in; an objection, or None,
goes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from mlsecops.loading.allowed.contracts import NEW, contracts
from mlsecops.loading.pickle_vm.argument_kinds import coarse, kind, kinds
from mlsecops.loading.pickle_vm.call_sizes import require_sizes
from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE
from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global

ARRAY_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
Call: TypeAlias = Literal["call", "new"]
_CALLED_ONLY: Final = frozenset({ARRAY_WRAPPER, NUMPY_DTYPE})
_FROM_TYPE: Final = "torch._tensor._rebuild_from_type_v2"
_NESTED: Final = "torch._utils._rebuild_nested_tensor"
_REBUILDERS: Final = "torch._utils._rebuild_"
RECONSTRUCTOR: Final = "copyreg._reconstructor"
_RECONSTRUCTED: Final = "@builtins.object, none"
_ARGUMENTS_READ: Final = 80  # arguments; chosen: contracts have up to 8


@dataclass(frozen=True, slots=True)
class Objection:
    """Reason against a call.

    Attributes:
        reason: What is wrong with it.
        refuses: Whether the file is refused; otherwise the call stays unchecked.
    """

    reason: str
    refuses: bool = True


def objection(
    name: str, how: Call, arguments: tuple[Any, ...], *, audited: Collection[str] = ()
) -> Objection | None:
    """Reason against a call of an allowed target, or None.

    Args:
        name: Qualified name of the target.
        how: `"new"` where an instance is made without its constructor's `__init__`.
        arguments: Symbolic values.
        audited: Names that the caller allows whatever they are called with.

    Examples:
        >>> objection("_codecs.encode", "call", ("a", "rot13")).reason
        "calls _codecs.encode with codec 'rot13', not latin1"
    """
    try:
        require_sizes(name, arguments)
    except ValueError as error:
        return Objection(f"calls {name} with {error}")
    if name == _FROM_TYPE:
        return _from_type(arguments, audited)
    uses = contracts().get(name)
    if uses is None or name in audited:
        return _generic(name, arguments)
    return _unseen(name, how, arguments, uses)


def _generic(name: str, arguments: tuple[Any, ...]) -> Objection | None:
    """Objection to a call of a name without a contract."""
    ranges = (
        isinstance(item, CallResult) and item.name == "builtins.range"
        for item in arguments[:_ARGUMENTS_READ]
    )
    if any(ranges):
        return Objection(f"calls {name} with a range: it allocates items that are not in the file")
    return None


def _unseen(
    name: str, how: Call, arguments: tuple[Any, ...], uses: Collection[str]
) -> Objection | None:
    if how == NEW and not arguments:
        if NEW in uses:
            return None
        return Objection(f"makes an empty {name}, which no library writes")
    found = kinds(arguments)
    if name == RECONSTRUCTOR and found.endswith(_RECONSTRUCTED):
        return _reconstructed(arguments[0])
    use = f"{how} {found}".rstrip()
    if use in uses or (set(found.split(", ")) == {"text"} and f"{how} text*" in uses):
        return _unverified(name)
    unusual = coarse(use) in {coarse(each) for each in uses}
    reason = f"calls {name} with ({found[:200]}), which no library writes"
    return Objection(reason, refuses=not unusual)


def _unverified(name: str) -> Objection | None:
    """Objection to a call whose numbers are in bytes that no check reads."""
    if name != _NESTED:
        return None
    return Objection(f"calls {name} with offsets that are in storages, not checked", refuses=False)


def _reconstructed(target: Any) -> Objection | None:
    """Objection to `object.__new__` of a class, as protocols 0 and 1 write it."""
    name = target.name if isinstance(target, Global) else "a computed class"
    uses = contracts().get(name)
    if uses is not None and NEW not in uses:
        return Objection(f"makes an empty {name}, which no library writes")
    return None


def _from_type(arguments: tuple[Any, ...], audited: Collection[str]) -> Objection | None:
    """Objection to the call that a call makes."""
    rebuild = arguments[0] if arguments else None
    if not isinstance(rebuild, Global) or not rebuild.name.startswith(_REBUILDERS):
        return Objection(f"lets {_FROM_TYPE} call a function that does not rebuild a tensor")
    inner = arguments[2] if len(arguments) > 2 else None  # noqa: PLR2004 - function, type, arguments
    if not isinstance(inner, tuple):
        return Objection(f"lets {_FROM_TYPE} call {rebuild.name} with computed arguments")
    uses = contracts()[_FROM_TYPE]
    outer = f"call ?, {kinds(arguments[1:2])}, ?, {kinds(arguments[3:])}"
    if outer not in uses:
        return Objection(f"calls {_FROM_TYPE} with other arguments than torch writes")
    return objection(rebuild.name, "call", inner, audited=audited)


def state_objection(
    name: str, state: Any, *, arguments: tuple[Any, ...] = (), audited: Collection[str] = ()
) -> Objection | None:
    """Reason against setting the state of a call's result, or None.

    Examples:
        >>> state_objection("builtins.complex", Container("builtins.dict")).reason
        'sets a state of kind dict on builtins.complex, which no library writes'
    """
    if name == RECONSTRUCTOR and arguments and isinstance(arguments[0], Global):
        name = arguments[0].name
    uses = contracts().get(name)
    if uses is None or name in audited:
        return None
    found = kind(state)
    plain = NEW in uses and isinstance(state, Container) and found == "dict"
    if plain or f"state {found}" in uses:
        return None
    unusual = coarse(found) in {coarse(use.removeprefix("state ")) for use in uses}
    return Objection(
        f"sets a state of kind {found[:200]} on {name}, which no library writes",
        refuses=not unusual,
    )


def passed_on(values: Iterable[Any]) -> str | None:
    """Name among values that may be called and not passed on, or None.

    A function that receives it could call it without a trace in the opcodes.
    """
    for value in values:
        if isinstance(value, Global) and value.name in _CALLED_ONLY:
            return value.name
    return None
