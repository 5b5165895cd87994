from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from mlsecops import errors
from mlsecops.provenance import hash_dataset
from mlsecops.provenance.content.parts import ROWS_PER_ENTRY


class Made(Dataset[Any]):
    """A map-style data set of given samples; as many do, it does not end by itself."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index % len(self.samples)]


class Streamed(IterableDataset[Any]):
    """An iterable data set of so many big samples."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return (np.full(1 << 20, index, np.uint8) for index in range(self.count))


X, Y = torch.arange(12.0).reshape(4, 3), torch.arange(4)


def test_each_place_of_a_sample_is_a_column() -> None:
    manifest = hash_dataset(TensorDataset(X, Y), name="d")
    assert [entry.name for entry in manifest] == ["0[0:4]", "1[0:4]"]


def test_a_changed_sample_names_its_column() -> None:
    manifest = hash_dataset(TensorDataset(X, Y), name="d")
    changed = X.clone()
    changed[2, 1] = -1
    with pytest.raises(errors.DigestMismatch, match=r"changed '0\[0:4\]'"):
        manifest.verify(TensorDataset(changed, Y))
    assert manifest.verify(TensorDataset(X.clone(), Y.clone())) == manifest


def test_appended_samples_show_as_appended() -> None:
    manifest = hash_dataset(TensorDataset(X[:3], Y[:3]), name="d")
    with pytest.raises(errors.DigestMismatch, match="appended rows 3:4 of 0, 1;") as caught:
        manifest.verify(TensorDataset(X, Y))
    assert caught.value.removed == caught.value.changed == ()


DIFFERENT: list[list[Any]] = [
    [1, 2],
    [2, 1],
    [1, 2, 2],
    [1.0, 2.0],
    ["1", "2"],
    [b"1", b"2"],
    [torch.tensor(1), torch.tensor(2)],
    [torch.tensor([1]), torch.tensor([2])],
    [torch.tensor([1], dtype=torch.int32), torch.tensor([2], dtype=torch.int32)],
    [{"a": 1}, {"a": 2}],
    [{"b": 1}, {"b": 2}],
    [{"a": {"b": 1}}, {"a": {"b": 2}}],
    [None, None],
    [torch.zeros(2), torch.zeros(3)],
]


def test_type_shape_order_and_names_are_part_of_the_digest() -> None:
    manifests = [hash_dataset(Made(samples), name="d") for samples in DIFFERENT]
    seen = {tuple(manifest.entries) for manifest in manifests}
    assert len(seen) == len(DIFFERENT)


def test_the_same_samples_have_the_same_digest_from_any_dataset() -> None:
    lists = Made([(x.numpy(), y.item()) for x, y in zip(X, Y, strict=True)])
    tuples = Made([[x, int(y)] for x, y in zip(X, Y, strict=True)])
    assert hash_dataset(lists, name="d") == hash_dataset(tuples, name="d")


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "at least one sample, got none"),
        ([{"a": 1}, {"b": 1}], "expected the columns a, got b"),
        ([object()], "a sample is a object"),
        ([torch.zeros(1, dtype=torch.bfloat16)], "tensor: expected one that converts"),
        ([np.array([object()], dtype=object)], "dtype object"),
    ],
)
def test_samples_without_a_content_of_their_own_are_refused(samples: list[Any], said: str) -> None:
    with pytest.raises(errors.UsageError, match=said):
        hash_dataset(Made(samples), name="d")


def test_no_sample_is_kept() -> None:
    hash_dataset(Streamed(2), name="warm")
    tracemalloc.start()
    try:
        hash_dataset(Streamed(64), name="d")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_long_stream_is_cut_into_runs() -> None:
    manifest = hash_dataset(Made([1] * (ROWS_PER_ENTRY + 1)), name="d")
    assert [entry.name for entry in manifest] == ["sample[0:65536]", "sample[65536:65537]"]


TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf
from mlsecops import errors, hash_dataset

def made(count, change=0):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)[:count]
    x[0, 0] += change
    text = ["a", "bb", "é", ""][:count]
    return tf.data.Dataset.from_tensor_slices(({"x": x, "t": text}, np.arange(count)))

manifest = hash_dataset(made(3), name="d")
assert [entry.name for entry in manifest] == ["0.t[0:3]", "0.x[0:3]", "1[0:3]"], manifest
assert manifest.verify(made(3)) == manifest
for other, said in ((made(4), "appended rows 3:4 of 0.t, 0.x, 1;"), (made(3, 1), "'0.x[0:3]'")):
    try:
        manifest.verify(other)
    except errors.DigestMismatch as error:
        assert said in str(error), error
    else:
        raise AssertionError(said)
"""


def test_a_tensorflow_dataset_is_streamed() -> None:
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_hashing_an_array_imports_no_framework() -> None:
    code = (
        "import sys, numpy as np; from mlsecops import hash_dataset;"
        "hash_dataset({'a': np.zeros(3), 's': np.array(['x'] * 3)}, name='d');"
        "print(sorted({'torch', 'tensorflow', 'pandas', 'polars', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
