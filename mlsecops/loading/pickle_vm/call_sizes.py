"""Numbers in calls of allowed names, against the bytes that the file holds.

symbolic arguments → `require_sizes` → ValueError where a call would take memory or time for what
the file does not hold, or would read outside of what it holds
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from mlsecops.loading.pickle_vm.argument_kinds import ARRAYS, SCALARS
from mlsecops.loading.pickle_vm.arrays import array, byte_count, require_buffer
from mlsecops.loading.pickle_vm.dtypes import NUMPY_DTYPE, layout
from mlsecops.loading.pickle_vm.stack import CallResult
from mlsecops.loading.pickle_vm.torch_tensors import TENSOR_CHECKS

_FRACTION: Final = re.compile(r"-?[0-9]+(/[0-9]+)?")
_EMPTY: Final = (0,)  # shape; array_reduce, the array is filled by its state


def require_sizes(name: str, arguments: tuple[Any, ...]) -> None:
    """Demand that a call of an allowed name takes no more than the file holds.

    Args:
        name: Qualified name of the target.
        arguments: Symbolic values.

    Raises:
        ValueError: It takes more, or its numbers contradict each other.

    Examples:
        >>> require_sizes("builtins.bytearray", (1 << 30,))
        Traceback (most recent call last):
        ValueError: a size: it allocates bytes that are not in the file
    """
    check = _CHECKS.get(name)
    if check is None:
        return
    try:
        check(*arguments)
    except TypeError as error:
        raise ValueError("other arguments than the library writes") from error


def _demand(holds: bool, problem: str) -> None:  # noqa: FBT001 - a condition, like assert's
    if not holds:
        raise ValueError(problem)


def _encoded(_: Any, codec: Any = None) -> None:
    # Python looks up other codecs by name, which imports a module.
    _demand(codec in {"latin1", "latin-1"}, f"codec {codec!r}, not latin1")


def _bytes(value: Any = b"", codec: Any = None) -> None:
    _demand(type(value) is not int, "a size: it allocates bytes that are not in the file")
    if codec is not None:
        _encoded(value, codec)


def _reconstructed(_: Any, shape: Any, __: Any) -> None:
    _demand(shape == _EMPTY, "a shape: it allocates items that are not in the file")


def _masked(_: Any, __: Any, shape: Any, ___: Any) -> None:
    _reconstructed(_, shape, ___)


def _scalar(dtype: Any, data: Any) -> None:
    item = layout(dtype)
    if item.objects:  # a record with objects is in an array of its own
        found = array(data)
        _demand(found is not None and 0 not in found.shape, "a dtype of objects and no object")
        return
    _demand(byte_count(data) == item.size, "a size: it allocates bytes that are not in the file")


def _buffer(*arguments: Any) -> None:
    require_buffer(CallResult("numpy._core.numeric._frombuffer", arguments))


def _dtype(kind: Any, *_: Any) -> None:
    layout(CallResult(NUMPY_DTYPE, (kind, *_)))


def _fraction(numerator: Any, denominator: Any = 1) -> None:
    whole = type(numerator) is int and type(denominator) is int
    text = isinstance(numerator, str) and denominator == 1
    _demand(
        whole or (text and _FRACTION.fullmatch(numerator) is not None),
        "a number with an exponent, which takes as many digits",
    )


def _path(*parts: Any) -> None:
    _demand(all(isinstance(part, str) for part in parts), "parts that are no text")


_CHECKS: Final[dict[str, Callable[..., None]]] = {
    "_codecs.encode": _encoded,
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "fractions.Fraction": _fraction,
    **{name: _reconstructed for name in ARRAYS if name.endswith("_reconstruct")},
    **{name: _buffer for name in ARRAYS if name.endswith("_frombuffer")},
    **dict.fromkeys(SCALARS, _scalar),
    "numpy.ma.core._mareconstruct": _masked,
    NUMPY_DTYPE: _dtype,
    "pathlib.PosixPath": _path,
    "pathlib.PurePosixPath": _path,
    **TENSOR_CHECKS,
}
"""Name → check of its arguments."""
