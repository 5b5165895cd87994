"""Element counts of tensor shapes, in time that grows linearly with the number of dimensions.

dimensions and the largest useful count → number of elements

Python multiplies numbers of any length, so the plain product of n dimensions takes n² steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_SHOWN: Final = 8  # dimensions; chosen: a message stays readable, real tensors have up to 6


def element_count(shape: Sequence[int], *, most: int) -> int:
    """Product of dimensions, or `most + 1` where it is larger.

    Args:
        shape: Dimensions, none negative.
        most: Largest count that the caller tells from larger ones, 0 or more.

    Examples:
        >>> element_count([2, 3], most=100), element_count([9] * 1_000_000, most=100)
        (6, 101)
    """
    if 0 in shape:
        return 0
    count = 1
    for size in shape:
        if size > most:
            return most + 1
        count *= size
        if count > most:
            return most + 1
    return count


def shown(shape: Sequence[int]) -> str:
    """Short text of a shape for messages.

    Examples:
        >>> shown((2, 3)), shown([9] * 100)
        ('[2, 3]', '[9, 9, 9, 9, 9, 9, 9, 9, … 100 dimensions]')
    """
    first = ", ".join(
        f"2**{size.bit_length() - 1}…" if size >> 64 else str(size) for size in shape[:_SHOWN]
    )
    return f"[{first}]" if len(shape) <= _SHOWN else f"[{first}, … {len(shape)} dimensions]"
