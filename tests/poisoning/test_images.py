from __future__ import annotations

import pytest

from mlsecops.poisoning.images import image_axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64,), (8, 8, 1)),
        ((10,), None),
        ((8, 9), (8, 9, 1)),
        ((3, 8, 9), (8, 9, 3)),
        ((8, 9, 3), (8, 9, 3)),
        ((1, 8, 8), (8, 8, 1)),
        ((2, 3, 4, 5), None),
    ],
)
def test_axes_of_an_image_are_recognised(
    shape: tuple[int, ...], axes: tuple[int, int, int] | None
) -> None:
    assert image_axes(shape) == axes
