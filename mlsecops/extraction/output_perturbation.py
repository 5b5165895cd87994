"""How much an answer tells: coarser probabilities, so that a thief needs more queries.

probabilities (n, k) → Rounded, TopK, LabelOnly, ReverseSigmoid → (n, k) with the same top class

`@hardened` stands outside `@monitored`: the monitor sees what the model said, the client what
is left of it. None of these stops a thief; `docs/extraction.md` says what each one costs it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlsecops._callables import Hooks, called_first, wrap
from mlsecops.errors import UsageError

__all__ = ["CONTROL", "LabelOnly", "Output", "ReverseSigmoid", "Rounded", "TopK", "hardened"]

P = ParamSpec("P")
R = TypeVar("R")
Floats = NDArray[np.float64]

CONTROL: Final = "Output perturbation"
_SPELLING: Final = "@hardened(Rounded(decimals=1))"
_SMALLEST: Final = 1e-12
_JUST_BELOW: Final = 1 - 1e-6


class Output(Protocol):
    """Makes probabilities tell less."""

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Probabilities `(k,)` or `(n, k)` in the same shape, with the same top class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """Keeps a few decimals; a row's sum may differ from 1 by half a unit for each class.

    Attributes:
        decimals: Digits after the point, 1 to 15.
    """

    decimals: int = 1

    def __post_init__(self) -> None:
        """Refuse a number of decimals that rounds everything or nothing."""
        if not 1 <= self.decimals <= 15:  # noqa: PLR2004 - what a float64 holds
            raise UsageError(f"decimals: expected 1 to 15, got {self.decimals}")

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Round; a class that would tie with the top one goes one unit down."""
        rows, shape = _rows(probabilities)
        coarse = np.round(rows, self.decimals)
        unit: float = 10.0**-self.decimals
        return _topped(coarse, rows, ceiling=-unit).reshape(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """Keeps the largest probabilities, and says 0 for the others.

    Attributes:
        k: How many are kept, at least 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if self.k < 1:
            raise UsageError(f"k: expected at least 1, got {self.k}")

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Zero all but the k largest of each row."""
        rows, shape = _rows(probabilities)
        rank = np.argsort(np.argsort(-rows, axis=1, kind="stable"), axis=1, kind="stable")
        return np.where(rank < self.k, rows, 0.0).reshape(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOnly:
    """Says 1 for the top class and 0 for the others."""

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """One-hot rows of the top class."""
        rows, shape = _rows(probabilities)
        chosen: Floats = np.eye(rows.shape[1])[rows.argmax(axis=1)]
        return chosen.reshape(shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseSigmoid:
    """Moves probabilities so that several inputs give one answer, which misleads gradients.

    Where the published transformation would change the top class, the others are held just below
    it.

    Attributes:
        beta: Size of the change, in (0, 1].
        gamma: Steepness, > 0.

    Source:
        Lee, Edwards, Molloy, Su: "Defending against neural network model stealing attacks using
        deceptive perturbations", IEEE S&P Workshops 2019, equation 5.
    """

    beta: float = 0.7
    gamma: float = 0.2

    def __post_init__(self) -> None:
        """Refuse strengths outside the published range."""
        if not (0 < self.beta <= 1 and self.gamma > 0):
            raise UsageError(
                f"expected beta in (0, 1] and gamma > 0, got {self.beta} and {self.gamma}"
            )

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
def hardened(*outputs: Output) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator that sends a function's probabilities through `outputs`, in order.

    Put it outside `@monitored`. The function is plain or `async` and returns probabilities.

    Args:
        outputs: At least one of this module's, or functions of yours.

    Raises:
        UsageError: No outputs, or a generator (when decorated); a result that is no table of
            probabilities (when called).
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
    """Probabilities as `(n, k)`, and the shape they came in."""
    try:
        values = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"probabilities: expected numbers, got {type(probabilities)}") from error
    if values.ndim not in {1, 2} or values.shape[-1] < 2 or not np.isfinite(values).all():  # noqa: PLR2004 - rows by two classes or more
        raise UsageError(f"probabilities: expected finite (n, k), got shape {values.shape}")
    return np.atleast_2d(values), values.shape


def _topped(changed: Floats, rows: Floats, *, ceiling: float | None) -> Floats:
    """Changed rows in which the others stay below the class that was the top one.

    Args:
        changed: `(n, k)` after a change.
        rows: `(n, k)` before it.
        ceiling: What is added to the top value to be the others' limit; None for just below it.
    """
    top = rows.argmax(axis=1)[:, None]
    # The top class must keep something to lead with, whatever the change took from it.
    peak = np.maximum(np.take_along_axis(changed, top, axis=1), _SMALLEST)
    limit = peak * _JUST_BELOW if ceiling is None else np.maximum(peak + ceiling, 0.0)
    limited = np.where(changed >= peak, limit, changed)
    np.put_along_axis(limited, top, peak, axis=1)
    return limited
