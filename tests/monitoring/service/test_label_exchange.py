"""Labels passed on between processes: what is kept, what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlsecops.monitoring.service import label_exchange
from mlsecops.monitoring.service.folder import ServiceFolder
from mlsecops.monitoring.service.label_exchange import LabelExchange


@pytest.fixture
def pair(tmp_path: Path) -> tuple[LabelExchange, LabelExchange]:
    one, other = (LabelExchange(ServiceFolder(str(tmp_path))) for _ in range(2))
    return one, other


def ids(exchange: LabelExchange) -> list[str]:
    return [request_id for _, request_id, _, _ in exchange.news()]


def test_label_is_read_once_by_each_other_process_and_not_by_its_own(
    pair: tuple[LabelExchange, LabelExchange], tmp_path: Path
) -> None:
    one, other = pair
    assert one.offer("m", "a", [1, 2], 3.0)
    assert list(other.news()) == [("m", "a", [1, 2], 3.0)]
    assert ids(other) == ids(one) == []
    assert ids(LabelExchange(ServiceFolder(str(tmp_path)))) == []  # it predicted nothing before


def test_label_that_is_no_plain_value_or_too_long_is_not_passed_on(
    pair: tuple[LabelExchange, LabelExchange],
) -> None:
    one, other = pair
    assert not one.offer("m", "a", object(), 0.0)
    assert not one.offer("m", "a", "x" * 100_000, 0.0)
    huge = np.broadcast_to(0.0, (10**6, 10**6))  # as a list it would take all memory
    assert not one.offer("m", "a", huge, 0.0)
    assert ids(other) == []


def test_files_are_bounded_and_half_a_line_waits_for_its_rest(
    pair: tuple[LabelExchange, LabelExchange], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_exchange, "_SEGMENT", 100)
    one, other = pair
    for each in range(50):
        one.offer("m", f"id{each}", 1, 0.0)
    files = sorted(tmp_path.glob("*.labels"))
    assert len(files) == 8
    assert all(path.stat().st_size <= 100 for path in files)
    assert ids(other)[-1] == "id49"
    with files[0].open("ab") as stream:
        stream.write(b'not json\n["m", "half')
    assert ids(other) == []
    with files[0].open("ab") as stream:
        stream.write(b'", 1, 0]\n')
    assert ids(other) == ["half"]
