"""Demands on the symbolic values inside a state."""

from __future__ import annotations

from typing import Any, Final

from mlsecops.loading.pickle_vm.arrays import array
from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global

MADE_BY: Final = frozenset(
    {
        "copyreg._reconstructor",
        "sklearn.neighbors._kd_tree.newObj",
        "sklearn.neighbors._ball_tree.newObj",
    }
)
"""Calls that make an instance of their first argument."""


def made(value: CallResult) -> str:
    """Name of the class of a call's result, or of the call."""
    first = value.arguments[0] if value.arguments else None
    return first.name if value.name in MADE_BY and isinstance(first, Global) else value.name


def demand(holds: object, problem: str) -> None:
    """Demand a condition.

    Raises:
        ValueError: It does not hold.
    """
    if not holds:
        raise ValueError(problem)


def whole(value: Any) -> int:
    """A number that is not negative.

    Raises:
        ValueError: It is something else.

    Examples:
        >>> whole(3)
        3
    """
    if type(value) is not int or value < 0:
        raise ValueError("something that is no whole number")
    return value


def items(state: Any, *names: str) -> dict[str, Any]:
    """Items of a state that is a dict, all of whose keys are known.

    Raises:
        ValueError: It is something else, or lacks one of the names.
    """
    if not isinstance(state, Container) or not state.whole or set(names) - state.items.keys():
        raise ValueError(f"a state without {', '.join(names)}")
    return state.items


def built(values: Any) -> list[Any]:
    """Items of a list or an array of objects, all of them built by calls.

    Raises:
        ValueError: It is something else, or has other items.
    """
    found = array(values)
    if found is not None:
        values = found.data
    if not isinstance(values, Container) or values.length != len(values.members):
        raise ValueError("something other than a list of estimators")
    values.known = values.known or True
    return values.members
