"""Changed files whose checksum fits: whoever writes a file can compute one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import MLSecOpsError
from mlsecops.monitoring import Baseline, FeatureAnomalies, LossEstimator
from tests.fuzzing import changed

ROWS = np.random.default_rng(0).normal(size=(200, 3))
ANSWERS = np.random.default_rng(1).dirichlet([3, 1], 200)


@pytest.mark.parametrize(
    ("made", "use"),
    [
        (
            lambda: LossEstimator.fit(ROWS, ROWS[:, 0], ROWS[:, 1]),
            lambda kept: kept.estimate(ROWS, ROWS[:, 0]),
        ),
        (lambda: FeatureAnomalies.fit(ROWS), lambda kept: kept.flags(ROWS)),
        (lambda: Baseline.fit(ROWS, ANSWERS), lambda kept: kept.drift(ROWS)),
    ],
    ids=["losses", "features", "baseline"],
)
def test_changed_files_are_refused_or_can_be_used(
    made: Callable[[], Any], use: Callable[[Any], object], tmp_path: Path
) -> None:
    kept = made()
    data = kept.save(tmp_path / "honest").read_bytes()[:-32]
    end = 12 + int.from_bytes(data[8:12], "big")
    refused = 0
    for number in range(400):
        parts = [data[12:end], data[end:]]
        parts[number % 2] = changed([parts[number % 2]], number)
        header, body = parts
        forged = data[:8] + len(header).to_bytes(4, "big") + header + body
        path = tmp_path / "forged"
        path.write_bytes(forged + hashlib.sha256(forged).digest())
        try:
            with np.errstate(all="ignore"):  # numbers may be enormous
                use(type(kept).load(path))
        except MLSecOpsError:
            refused += 1
    assert refused > 200
