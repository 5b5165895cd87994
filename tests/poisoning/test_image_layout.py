from __future__ import annotations

import numpy as np
import pytest

from mlsecops.poisoning.image_layout import around, contrast, image_axes, windows


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64,), None),
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


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 3), (3, 5, 6)])
def test_a_lone_value_stands_out_by_itself_and_not_across_channels(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, dtype=np.float32)
    middle = {(5, 6): (2, 3), (5, 6, 3): (2, 3, 1), (3, 5, 6): (1, 2, 3)}[shape]
    image[middle] = 1
    near = around(shape)
    assert near is not None
    stands = contrast(image.reshape(1, -1), np.arange(image.size), near).reshape(shape)
    assert stands[middle] == 1
    assert sorted(stands[stands != 0].tolist()) == [-0.25] * 4 + [1]


def test_a_border_is_continued_outwards() -> None:
    near = around((4, 4))
    assert near is not None
    flat = np.ones((1, 16), dtype=np.float32)
    assert not contrast(flat, np.arange(16), near).any()


@pytest.mark.parametrize(
    ("shape", "corner"),
    [
        ((9, 8), [0, 1, 8, 9]),
        ((9, 8, 2), [0, 1, 2, 3, 16, 17, 18, 19]),
        ((2, 9, 8), [0, 1, 8, 9, 72, 73, 80, 81]),
    ],
)
def test_windows_are_in_every_place_and_take_all_channels(
    shape: tuple[int, ...], corner: list[int]
) -> None:
    axes = image_axes(shape)
    assert axes is not None
    height, width, channels = axes
    sizes = windows(shape)
    assert [len(each) for each in sizes[:3]] == [
        height * width,
        (height - 1) * (width - 1),
        (height - 2) * (width - 2),
    ]
    for each in sizes:
        assert set(each.ravel().tolist()) == set(range(height * width * channels))
        assert all(len(set(columns)) == len(columns) for columns in each.tolist())
    assert sorted(sizes[1][0].tolist()) == corner


def test_each_column_of_a_table_is_a_window() -> None:
    (columns,) = windows((10,))
    assert columns.tolist() == [[i] for i in range(10)]
