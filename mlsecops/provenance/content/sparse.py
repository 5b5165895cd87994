"""Sparse matrices and tensors: coordinates in row order, with their values.

scipy.sparse, torch (COO, CSR, CSC, BSR, BSC), `tf.SparseTensor` → SparseColumn → bytes

Duplicates are summed and stored zeros are left out, so that the layout makes no difference. Nothing
is made dense; so a sparse matrix has another digest than a dense one of the same values.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from mlsecops.provenance.content.arrays import Update, array_of, header, write_array


@dataclass(frozen=True, slots=True)
class SparseColumn:
    """Column of a data set in coordinates.

    Attributes:
        name: Name of the column.
        shape: Shape, `(rows, …)`.
        indices: Coordinates of shape `(values, dimensions)`, in row-major order.
        values: Values at the coordinates.
    """

    name: str
    shape: tuple[int, ...]
    indices: Any
    values: Any

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def write(self, update: Update, start: int, stop: int) -> int:
        """Hash the content of some rows; return the number of bytes of their values."""
        numpy = sys.modules["numpy"]
        first, last = numpy.searchsorted(self.indices[:, 0], [start, stop])
        indices = self.indices[first:last].copy()
        indices[:, 0] -= start
        update(header(self.name, "sparse", (stop - start, *self.shape[1:])))
        size = write_array(update, indices, column=f"{self.name}.indices")
        return size + write_array(update, self.values[first:last], column=f"{self.name}.values")


def sparse_kind(value: Any) -> str | None:
    """Library of a sparse matrix or tensor; None for anything else."""
    package = type(value).__module__.partition(".")[0]
    sparse = {
        "scipy": lambda: hasattr(value, "tocoo"),
        "torch": lambda: _is_sparse_tensor(value),
        "tensorflow": lambda: type(value).__name__ == "SparseTensor",
    }
    return package if package in sparse and sparse[package]() else None


def sparse_column(name: str, value: Any) -> SparseColumn | None:
    """The column of a sparse matrix or tensor; None for anything else."""
    kind = sparse_kind(value)
    if kind == "scipy":
        return _of_scipy(name, value)
    if kind == "torch":
        return _of_torch(name, value)
    if kind == "tensorflow":
        parts = value.indices.numpy(), value.values.numpy(), value.dense_shape.numpy()
        return _sorted(name, tuple(map(int, parts[2])), parts[0], parts[1])
    return None


def _is_sparse_tensor(value: Any) -> bool:
    torch = sys.modules["torch"]
    return isinstance(value, torch.Tensor) and str(value.layout).startswith("torch.sparse")


def _of_scipy(name: str, value: Any) -> SparseColumn:
    numpy = sys.modules["numpy"]
    coordinates = value.tocoo(copy=True)
    coordinates.sum_duplicates()
    if hasattr(coordinates, "coords"):
        indices = numpy.stack(coordinates.coords, axis=1)
    else:
        indices = numpy.stack([coordinates.row, coordinates.col], axis=1)
    return _sorted(name, coordinates.shape, indices, coordinates.data)


def _of_torch(name: str, value: Any) -> SparseColumn:
    tensor = value.detach().cpu()
    if str(tensor.layout) != "torch.sparse_coo":
        tensor = tensor.to_sparse_coo()
    tensor = tensor.coalesce()
    values = array_of(tensor.values(), column=name)
    return _sorted(name, tuple(tensor.shape), tensor.indices().numpy().T, values)


def _sorted(name: str, shape: tuple[int, ...], indices: Any, values: Any) -> SparseColumn:
    numpy = sys.modules["numpy"]
    order = numpy.lexsort(tuple(reversed(indices.T)))
    indices, values = indices[order].astype("<i8"), values[order]
    if values.ndim == 1 and values.dtype.kind in "biufc":
        bits = getattr(values, "bits", values)
        present = bits != 0
        indices, values = indices[present], values[present]
    return SparseColumn(name, tuple(int(size) for size in shape), indices, values)
