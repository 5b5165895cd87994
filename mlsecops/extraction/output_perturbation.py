"""Output perturbation: coarser probabilities, so that model extraction needs more queries.

probabilities (n, k) → Rounded, TopK, LabelOnly, ReverseSigmoid → (n, k) with the same top class

`@hardened` goes outside `@monitored`: the monitor reads the model's answer, the client gets the
perturbed one. None of these prevents extraction; `docs/extraction.md` has the measured cost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._callables import Hooks, called_first, wrap
from mlsecops._choices import named, number, whole
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
Floats = NDArray[np.float64]

CONTROL: Final = "Output perturbation"
_SPELLING: Final = "@hardened(Rounded(decimals=1))"
_DIGITS: Final = 15  # decimal digits that a float64 holds
_SMALLEST: Final = 1e-12  # probability; chosen: keeps logarithms and powers finite
_JUST_BELOW: Final = 1 - 1e-6  # share of the top value; chosen: still less in float32


class Output(Protocol):
    """Function that reduces the information in probabilities."""

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Probabilities `(k,)` or `(n, k)` in the same shape, with the same top class."""


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """Rounding to a few decimals; the sum of a row may differ from 1 by half a unit per class.

    Attributes:
        decimals: Digits after the point, 1 to 15.
    """

    decimals: int = 1

    def __post_init__(self) -> None:
        if whole("decimals", self.decimals, "1 to 15") > _DIGITS:
            raise UsageError(f"decimals: expected 1 to 15, got {self.decimals}")

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Round; a class that would tie with the top class is lowered by one unit."""
        rows, shape = _rows(probabilities)
        coarse = np.round(rows, self.decimals)
        unit: float = 10.0**-self.decimals
        return _topped(coarse, rows, ceiling=-unit).reshape(shape)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The largest probabilities; the others become 0.

    Attributes:
        k: Number of probabilities that are kept, ≥ 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        whole("k", self.k, "at least 1")

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Zero all but the k largest of each row."""
        rows, shape = _rows(probabilities)
        rank = np.argsort(np.argsort(-rows, axis=1, kind="stable"), axis=1, kind="stable")
        return np.where(rank < self.k, rows, 0.0).reshape(shape)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOnly:
    """One-hot answer: 1 for the top class, 0 for the others."""

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """One-hot rows of the top class."""
        rows, shape = _rows(probabilities)
        chosen: Floats = np.eye(rows.shape[1])[rows.argmax(axis=1)]
        return chosen.reshape(shape)


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseSigmoid:
    """Reverse-sigmoid perturbation: several inputs share one answer, which misleads gradients.

    Where it would change the top class, the other classes are kept just below that.

    Attributes:
        beta: Size of the change, in (0, 1].
        gamma: Steepness, > 0.

    Source: Lee, Edwards, Molloy, Su: "Defending against neural network model stealing attacks using
    deceptive perturbations", IEEE S&P Workshops 2019, equation 5.
    """

    beta: float = 0.7
    gamma: float = 0.2

    def __post_init__(self) -> None:
        number("beta", self.beta, "a number in (0, 1]", lambda beta: 0 < beta <= 1)
        number("gamma", self.gamma, "a number above 0", lambda gamma: gamma > 0)

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Perturb and normalise each row."""
        rows, shape = _rows(probabilities)
        inner = np.clip(rows, _SMALLEST, 1 - _SMALLEST)
        # sigmoid(gamma · logit(y)), written with powers
        yes, no = inner**self.gamma, (1 - inner) ** self.gamma
        moved = np.clip(rows - self.beta * (yes / (yes + no) - 0.5), 0.0, 1.0)
        moved = _topped(moved, rows, ceiling=None)
        shares: Floats = moved / moved.sum(axis=1, keepdims=True)
        return shares.reshape(shape)


@called_first(_SPELLING, takes_functions=True)
@named
def hardened(*outputs: Output) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator that passes a function's probabilities through `outputs`, in order.

    Put it outside `@monitored`. The function returns probabilities and is no generator.

    Args:
        outputs: At least one; those of this module, or functions of probabilities.

    Raises:
        UsageError: There is no output or the function is a generator (when decorated); the result
            is no table of probabilities (when called).

    Examples:
        >>> @hardened(Rounded(decimals=1))
        ... def predict(_): return [0.62, 0.38]
        >>> predict(1).tolist()
        [0.6, 0.4]
    """
    if not outputs:
        raise UsageError(f"hardened: expected at least one output, got none; write {_SPELLING}")
    for output in outputs:
        if not callable(output) or isinstance(output, type):
            raise UsageError(
                f"hardened: expected outputs such as Rounded(decimals=1), got {output!r}"
            )

    def less(_: Any, answer: Any) -> Any:
        return functools.reduce(lambda value, output: output(value), outputs, answer)

    def hooks(function: Callable[..., Any]) -> Hooks:
        monitor = getattr(function, "monitor", None)
        if monitor is not None:
            monitor.controls[CONTROL] = "guard"
        return Hooks(after=less, no_steps="perturb each item that it yields")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return cast("Callable[P, R]", wrap(function, hooks, decorator="hardened"))

    return decorate


def _rows(probabilities: ArrayLike) -> tuple[Floats, tuple[int, ...]]:
    try:
        values = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"probabilities: expected numbers, got {type(probabilities)}") from error
    if values.ndim not in {1, 2} or values.shape[-1] < 2 or not np.isfinite(values).all():  # noqa: PLR2004 - rows by two classes or more
        raise UsageError(f"probabilities: expected finite (n, k), got shape {values.shape}")
    return np.atleast_2d(values), values.shape


def _topped(changed: Floats, rows: Floats, *, ceiling: float | None) -> Floats:
    """Changed rows `(n, k)` in which the other classes stay below the original top class.

    Their limit is the top value plus `ceiling`, or (None) just below the top value.
    """
    top = rows.argmax(axis=1)[:, None]
    # The top class must stay above 0, so that the others can be below it.
    peak = np.maximum(np.take_along_axis(changed, top, axis=1), _SMALLEST)
    limit = peak * _JUST_BELOW if ceiling is None else np.maximum(peak + ceiling, 0.0)
    limited = np.where(changed >= peak, limit, changed)
    np.put_along_axis(limited, top, peak, axis=1)
    return limited
