# ruff: noqa: ANN001 - the fixtures' classes live in conftest
from __future__ import annotations

import numpy as np
import pytest

from mlsecops.errors import FormatRefused
from mlsecops.extraction.client_history import ClientHistory
from mlsecops.monitoring import ExtractionDetector
from tests.attackers.drift import flipped
from tests.extraction.queries import readings


def test_what_is_remembered_of_a_client_is_bounded_and_survives_the_wire(digits, detector) -> None:
    store: dict[str | None, ClientHistory] = {}

    class Kept:
        def use(self, client, _now, change):  # noqa: ANN202 - a store
            return change(store.setdefault(client, ClientHistory()))

    kept = ExtractionDetector(
        detector._scorer, detector._benign, histories=Kept(), features=64, rate=0.01, every=1
    )
    for part in np.split(digits.fresh, [100, 300]):
        readings(kept, digits, part)
    data = store["c"].to_bytes()
    assert len(store["c"].projections) == 200
    assert len(data) < 64_000
    assert ClientHistory.from_bytes(data).to_bytes() == data
    for place in range(0, len(data), len(data) // 40):
        with pytest.raises(FormatRefused):
            ClientHistory.from_bytes(flipped(data, place))


def test_history_that_contradicts_itself_is_refused() -> None:
    for wrong in (
        ClientHistory(sums=np.zeros(3)),
        ClientHistory(sums=np.full(10, np.nan)),
        ClientHistory(projections=np.zeros((300, 4), np.float32)),
        ClientHistory(classes=np.zeros(7, np.int64)),
        ClientHistory(scores=np.zeros((0, 5), np.float32)),
        ClientHistory(regions=np.zeros((2, 2), np.int64)),
        ClientHistory(queries=-1),
    ):
        with pytest.raises(FormatRefused):
            ClientHistory.from_bytes(wrong.to_bytes())
