from __future__ import annotations

import numpy as np
import pytest

from mlsecops.poisoning.ridge import Ridge
from mlsecops.poisoning.triggers import image_axes


def test_leaving_columns_out_equals_a_fit_without_them() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 12)), rng.integers(0, 3, 200)
    ridge = Ridge.fit(x, y, classes=3)
    window = np.array([2, 7, 8])
    fast = ridge.scores(x) - ridge.lost((x - ridge.mean) @ ridge.inverse, window)
    kept = np.setdiff1d(np.arange(12), window)
    centred, target = x[:, kept] - ridge.mean[kept], np.eye(3)[y] - ridge.prior
    whole = (x - ridge.mean).T @ (x - ridge.mean)
    penalty = 1e-2 * np.trace(whole) / 12
    solved = np.linalg.solve(centred.T @ centred + penalty * np.eye(9), centred.T @ target)
    assert np.allclose(fast, centred @ solved + ridge.prior)


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
