import json
import struct
from pathlib import Path
from typing import Any

import pytest

from mlsecops.loading import scan
from mlsecops.loading.shapes import element_count, shown
from tests.attackers import shapes as attack


def test_a_product_stops_where_it_passes_the_limit() -> None:
    assert element_count([2, 3, 4], most=24) == 24
    assert element_count([2, 3, 4], most=23) == 24
    assert element_count([1 << 4000] * 3, most=7) == 8
    assert element_count([1 << 40, 0, 1 << 40], most=7) == 0
    assert element_count([], most=7) == 1


def test_a_long_shape_is_shown_in_short() -> None:
    assert len(shown([1 << 9000] * 100_000)) < 20_000


@pytest.mark.parametrize("name", sorted(attack.files_with_endless_shapes()))
def test_many_dimensions_are_refused_at_once(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(attack.files_with_endless_shapes()[name])
    assert file.stat().st_size < 2_000_000
    verdict = scan(file)
    assert verdict.refused, verdict
    assert max(len(finding.message) for finding in verdict.findings) < 1000


def test_a_tensor_of_backward_offsets_is_refused(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"dtype": "U8", "shape": [0], "data_offsets": [4, 0]}
    header = json.dumps({"a": entry}).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    assert scan(file).refused
