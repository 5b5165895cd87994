from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.data import ChainDataset, ConcatDataset, Dataset, IterableDataset, TensorDataset

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
        ([torch.empty(1, device="meta")], "column 'sample': tensor: expected one that converts"),
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


class Counted(Streamed):
    """An iterable data set that knows its length, as loaders ask for it."""

    def __len__(self) -> int:
        return self.count


def test_an_iterable_data_set_is_iterated_whether_or_not_it_knows_its_length() -> None:
    plain = hash_dataset(Streamed(3), name="d")
    assert hash_dataset(Counted(3), name="d") == plain
    assert hash_dataset(ChainDataset([Streamed(3)]), name="d") == plain
    assert hash_dataset(ConcatDataset([Made([1]), Made([2])]), name="d") == hash_dataset(
        Made([1, 2]), name="d"
    )


def test_a_data_set_that_fails_is_refused_with_the_sample() -> None:
    class Failing(Made):
        def __getitem__(self, index: int) -> Any:
            if index == 2:
                raise OSError("disk")
            return super().__getitem__(index)

    with pytest.raises(errors.UsageError, match="sample 2 cannot be read: OSError: disk"):
        hash_dataset(Failing([1, 2, 3]), name="d")


NARROW = [
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
]


@pytest.mark.parametrize("kind", NARROW, ids=str)
def test_types_that_numpy_lacks_are_hashed_by_their_bits(kind: torch.dtype) -> None:
    values = torch.tensor([1.0, 2.0, float("nan")]).to(kind)
    name = str(kind).removeprefix("torch.")
    array = values.float().numpy().astype(getattr(ml_dtypes, name))
    expected = hash_dataset(array, name="d")
    assert hash_dataset(values, name="d") == expected
    assert hash_dataset(values.requires_grad_(kind == torch.bfloat16), name="d") == expected
    width = {1: torch.uint8, 2: torch.uint16}[values.itemsize]
    assert hash_dataset(values.detach().view(width), name="d") != expected
    others = hash_dataset(torch.tensor([1.0, 4.0, float("nan")]).to(kind), name="d")
    assert others != expected


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn], ids=str)
def test_a_nan_is_one_nan_whatever_its_bits(kind: torch.dtype) -> None:
    width = {1: torch.uint8, 2: torch.uint16}[kind.itemsize]
    every = torch.arange(256**kind.itemsize, dtype=torch.int32).to(width).view(kind)
    missing = every[every.float().isnan()]
    roots = {hash_dataset(each.reshape(1), name="d").root for each in missing[:: len(missing) // 2]}
    assert len(missing) > 1
    assert len(roots) == 1


def test_conjugated_half_and_packed_tensors_have_digests() -> None:
    lazy = torch.tensor([1 + 2j, 3 - 1j]).conj()
    assert hash_dataset(lazy, name="d") == hash_dataset(lazy.resolve_conj(), name="d")
    half = torch.tensor([1 + 2j], dtype=torch.complex32)
    computed = torch.tensor([complex(float("nan"), 1)], dtype=torch.complex32)
    roots = {hash_dataset(each, name="d").root for each in (half, -half, computed)}
    assert len(roots) == 3
    assert hash_dataset(-computed.conj(), name="d") == hash_dataset(computed, name="d")


DENSE = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 4.0, 5.0]])


def sparse_layouts() -> dict[str, Any]:
    whole = DENSE.numpy()
    stored_zero = sparse.coo_matrix(
        ([1.0, 2.0, 1.0, 3.0, 5.0, 0.0], ([0, 1, 3, 3, 3, 2], [1, 0, 1, 1, 2, 2])), (4, 3),
        dtype=np.float32,
    )  # fmt: skip
    return {
        "coo": sparse.coo_matrix(whole),
        "csr": sparse.csr_matrix(whole),
        "csc array": sparse.csc_array(whole),
        "lil": sparse.lil_matrix(whole),
        "duplicates and zeros": stored_zero,
        "torch coo": DENSE.to_sparse(),
        "torch csr": DENSE.to_sparse_csr(),
        "torch csc": DENSE.to_sparse_csc(),
    }


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("layout", list(sparse_layouts()))
def test_how_a_sparse_matrix_is_laid_out_leaves_no_trace(layout: str) -> None:
    value = sparse_layouts()[layout]
    expected = hash_dataset({"x": sparse.coo_matrix(DENSE.numpy()), "y": np.arange(4)}, name="d")
    assert hash_dataset({"x": value, "y": np.arange(4)}, name="d") == expected
    assert hash_dataset(Made([value]), name="d") == hash_dataset(
        Made([DENSE.to_sparse()]), name="d"
    )
    changed = sparse.coo_matrix(DENSE.numpy() * 2)
    with pytest.raises(errors.DigestMismatch, match=r"changed 'x\[0:4\]'"):
        expected.verify({"x": changed, "y": np.arange(4)})
    wider = sparse.coo_matrix((DENSE.to_sparse().values(), DENSE.nonzero().T.numpy()), (4, 4))
    assert hash_dataset(wider, name="d") != hash_dataset(value, name="d")


def test_rows_appended_to_a_sparse_matrix_show_as_appended() -> None:
    manifest = hash_dataset(DENSE[:3].to_sparse(), name="d")
    with pytest.raises(errors.DigestMismatch, match="appended rows 3:4 of array"):
        manifest.verify(DENSE.to_sparse())


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

def root(data):
    return hash_dataset(data, name="d").root

text = tf.data.Dataset.from_tensor_slices(["a", "bb", "c", "d"])
assert root(text.batch(2)) == root(text.batch(2)) != root(text)
shifted = tf.data.Dataset.from_tensor_slices(["a", "b", "bc", "d"])
assert root(text.batch(2)) != root(shifted.batch(2))
ragged = tf.ragged.constant([[1], [2, 3]])
assert root(tf.data.Dataset.from_tensors(ragged)) != root(
    tf.data.Dataset.from_tensors(tf.ragged.constant([[1, 2], [3]]))
)
sparse = tf.sparse.from_dense([[0, 1], [2, 0]])
swapped = tf.SparseTensor(sparse.indices[::-1], sparse.values[::-1], sparse.dense_shape)
assert root(tf.data.Dataset.from_tensors(sparse)) == root(tf.data.Dataset.from_tensors(swapped))
narrow = tf.cast([1.0, float("nan")], tf.bfloat16)
assert root(narrow) == root(-narrow + 2 * tf.cast([1.0, 0.0], tf.bfloat16))
eight = tf.dtypes.experimental
assert root(tf.cast([1.0], eight.float8_e5m2)) != root(tf.cast([1.0], eight.float8_e4m3fn))
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
