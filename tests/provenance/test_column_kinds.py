from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from mlsecops import errors
from mlsecops.provenance import Digest, hash_dataset
from tests.provenance.column_kinds import HOLDERS, digests

ROOT = Path(__file__).parents[2]
Found = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def found() -> Found:
    return digests()


def test_each_kind_of_column_has_one_digest_whatever_holds_it(found: Found) -> None:
    assert len(found) >= 40
    several = {
        kind: by_holder
        for kind, by_holder in found.items()
        if len({digest for digests in by_holder.values() for digest in digests}) != 1
    }
    assert several == {}
    roots: dict[str, set[str]] = {}
    for kind, by_holder in found.items():
        roots.setdefault(min(by_holder.values())[0], set()).add(kind)
    assert [kinds for kinds in roots.values() if len(kinds) > 1] == [
        {"float64 with 0/0", "float64 with nulls"},  # a null is NaN
        {"text with nulls", "large text"},  # two layouts
        {"decimal(10, 2)", "decimal(50, 2)"},  # the same amounts
    ]


def test_another_process_has_the_same_digests(found: Found) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.provenance.column_kinds"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert json.loads(done.stdout) == found


def test_the_page_lists_what_each_library_holds(found: Found) -> None:
    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `int8`")]
    start = page.index(f"| Kinds of column | {' | '.join(HOLDERS)} |")
    table = page[start:].split("\n\n", 1)[0].splitlines()[2:]
    assert rows
    listed = {}
    for kinds, *cells in (line.split("|")[1:-1] for line in table):
        held = {name for name, cell in zip(HOLDERS, cells, strict=True) if cell.strip() == "yes"}
        listed |= dict.fromkeys(re.findall(r"`([^`]+)`", kinds), held)
    assert listed == {kind: set(by_holder) for kind, by_holder in found.items()}


def root(data: Any) -> Digest:
    return hash_dataset(data, name="d").root


def test_parameters_of_an_extension_type_are_part_of_the_digest() -> None:
    """The same numbers are other times: months since 1970, and days."""
    periods = [pd.PeriodIndex.from_ordinals([5, 6], freq=unit) for unit in "MDY"]
    assert len({root(pd.DataFrame({"c": each})) for each in periods}) == 3


@pytest.mark.parametrize("kind", [pa.int64(), pa.bool_(), pa.date32(), pa.decimal128(5)], ids=str)
def test_a_column_without_rows_or_memory_has_the_digest_of_its_type(kind: pa.DataType) -> None:
    bare = pa.Array.from_buffers(kind, 0, [None, None])
    assert root({"a": bare}) == root({"a": pa.array([], kind)})
    assert root({"a": bare}) != root({"a": pa.array([], pa.float64())})


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_a_quantized_tensor_is_refused_whose_bits_do_not_say_what_they_mean() -> None:
    torch = pytest.importorskip("torch")
    for scale in (0.1, 0.2):
        tensor = torch.quantize_per_tensor(torch.ones(3) * scale, scale, 0, torch.qint8)
        with pytest.raises(errors.UsageError, match="expected one that converts to a numpy array"):
            root({"a": tensor})


def test_a_sparse_matrix_by_itself_has_the_digest_of_its_values() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = [[0, 1], [2, 0]]
    known = {root(each(dense)) for each in (sparse.csr_matrix, sparse.coo_array)}
    assert len(known) == 1
    assert known.isdisjoint({root(sparse.csr_matrix([[0, 1], [3, 0]]))})


def test_a_loader_that_may_shuffle_is_no_data_set() -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader([1, 2, 3], shuffle=True)
    with pytest.raises(errors.UsageError, match="cannot hash a data set of type torch"):
        root(loader)
