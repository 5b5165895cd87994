from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.findings import Severity
from mlsecops.poisoning.baseline import DatasetBaseline
from mlsecops.provenance import hash_path
from mlsecops.signing import Signer, TrustPolicy, Verified, sign, verify
from tests.attackers.poisoning import digits


def shape_of(x: NDArray[np.float32], y: NDArray[np.int64]) -> DatasetBaseline:
    return DatasetBaseline.of(x, y, duplicate_rate=0.0, disagreement_rate=0.0)


def verified(path: Path, *, baseline: DatasetBaseline | None) -> Verified:
    x, y = digits()
    np.savez(path, x=x, y=y)
    claims = [] if baseline is None else [baseline.statement({path.name: hash_path(path).root})]
    signer = Signer.generate("p256")
    sign(path, signer, statements=claims)
    return verify(path, policy=TrustPolicy(keys=[signer.public_key]))


def test_signed_baseline_comes_back_as_it_was(tmp_path: Path) -> None:
    before = shape_of(*digits())
    assert DatasetBaseline.from_verified(verified(tmp_path / "d.npz", baseline=before)) == before


def test_signature_without_a_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one signed baseline, got 0"):
        DatasetBaseline.from_verified(verified(tmp_path / "d.npz", baseline=None))


def test_half_of_the_same_data_has_not_moved() -> None:
    x, y = digits()
    assert not shape_of(x[::2], y[::2]).moved_from(shape_of(x[1::2], y[1::2]), x[::2], y[::2])


def test_one_class_that_got_darker_has_moved_and_no_other() -> None:
    x, y = digits()
    before = shape_of(x, y)
    x[y == 3] *= 0.7
    messages = [f.message for f in shape_of(x, y).moved_from(before, x, y)]
    assert len(messages) == 1
    assert "class 3 moved" in messages[0]


def test_rescaled_data_has_moved_though_its_order_is_the_same() -> None:
    x, y = digits()
    assert len(shape_of(x * 2, y).moved_from(shape_of(x, y), x * 2, y)) == 10


def test_other_columns_are_a_shift_and_not_an_error() -> None:
    x, y = digits()
    (finding,) = shape_of(x[:, :2], y).moved_from(shape_of(x, y), x[:, :2], y)
    assert "groups of columns" in finding.message
    assert finding.severity == Severity.MEDIUM


@pytest.mark.parametrize("change", [{"n": 0}, {"class_counts": {}}, {"spreads": {"0": [[1]]}}])
def test_broken_baseline_is_refused(change: dict[str, Any]) -> None:
    value = json.loads(json.dumps(shape_of(*digits()).to_dict()))
    with pytest.raises(UsageError, match="not a data set's baseline"):
        DatasetBaseline.from_dict({**value, **change})
