from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.drift.matmul import ALONE, product


@pytest.mark.parametrize(
    "shape", [(0, 3, 2), (1, 784, 50), (513, 50, 50), (3, 2, ALONE), (4, 0, 2)]
)
def test_a_product_in_parts_is_the_product(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=shape[:2]), rng.normal(size=shape[1:])
    np.testing.assert_allclose(product(left, right), left @ right, rtol=1e-10, atol=1e-12)
    single = product(left.astype(np.float32), right.astype(np.float32))
    assert single.dtype == np.float32


def test_no_part_is_large_enough_for_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = np.matmul

    def noted(left: Any, right: Any, **options: Any) -> Any:
        sizes.append(len(left) * right.size)
        return whole(left, right, **options)

    monkeypatch.setattr(np, "matmul", noted)
    product(np.ones((5000, 50)), np.ones((50, 50)).T)
    assert len(sizes) > 1
    assert max(sizes) <= ALONE
