"""Views of images: a warp shows in the texture, a moving patch in the words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mlsecops.poisoning.images.local_texture import local_texture
from mlsecops.poisoning.images.patch_words import patch_words
from mlsecops.poisoning.linear_model import out_of_fold_scores

Images = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def grainy(rows: int = 900) -> Images:
    """Grainy images of three classes by a bright bar, and the rows to be poisoned."""
    rng = np.random.default_rng(11)
    y = rng.integers(0, 3, rows)
    x = gaussian_filter(rng.random((rows, 16, 16)), (0, 0.7, 0.7))
    for label in range(3):
        x[y == label, 5 * label : 5 * label + 3] += 0.2
    return x.astype(np.float32), y, rng.choice(np.flatnonzero(y != 1), 50, replace=False)


def over(scores: NDArray[np.float32], y: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Share of the rows above 99 % of the other labels' rows."""
    return float((scores[rows, 1] > np.quantile(scores[y != 1, 1], 0.99)).mean())


def test_a_warped_image_shows_in_its_texture_and_not_in_its_values() -> None:
    x, y, rows = grainy()
    rng = np.random.default_rng(12)
    field = [gaussian_filter(rng.uniform(-1, 1, (16, 16)), 3) for _ in "yx"]
    grids = zip(np.indices((16, 16)), field, strict=True)
    grid = [axis + bend / np.abs(bend).mean() for axis, bend in grids]
    for row in rows:
        x[row] = map_coordinates(x[row], grid, order=1, mode="nearest")
    y[rows] = 1
    flat, contradicted = x.reshape(len(x), -1), np.isin(np.arange(len(x)), rows)
    texture = local_texture(flat, (16, 16))
    assert texture is not None
    assert texture[np.arange(2)].shape == (2, texture.shape[1])
    values, local = (
        out_of_fold_scores(view, y, contradicted, seed=0)[0] for view in (flat, texture)
    )
    assert over(local, y, rows) > 0.9
    assert over(values, y, rows) < 0.8


def test_a_patch_that_moves_is_the_same_word_everywhere() -> None:
    x, y, rows = grainy()
    rng = np.random.default_rng(13)
    for row in rows:
        top, left = rng.integers(0, 13, 2)
        x[row, top : top + 3, left : left + 3] = 0.9
    y[rows] = 1
    contradicted = np.isin(np.arange(len(x)), rows)
    words = patch_words(x.reshape(len(x), -1), y, contradicted, shape=(16, 16))
    assert words is not None
    assert over(words.scores, y, rows) == 1
    assert not (words.scores[y != 1] > 0).any()
    held = words.focus(1, rows)[:, 1:]
    assert held.all(axis=0).any()  # one word at least is in each of them


def test_tables_have_neither_texture_nor_words() -> None:
    x = np.random.default_rng(14).random((60, 64)).astype(np.float32)
    y = np.arange(60) % 2
    assert local_texture(x, (64,)) is None
    assert patch_words(x, y, y == 1, shape=(64,)) is None
