"""States of compiled classes: indices, pointers and positions inside their arrays.

symbolic state → ValueError where compiled code would read or write outside its arrays

Source: SciPy `sparse/_compressed.py`, `check_format`, and `sparse/_coo.py`, `_check`;
`interpolate/_bsplines.py`; scikit-learn `neighbors/_binary_tree.pxi.tp`, `svm/_libsvm.pyx`,
`cluster/_k_means_lloyd.pyx`; NumPy `random/_mt19937.pyx` and `_philox.pyx`.
"""

from __future__ import annotations

from typing import Any, Final

from mlsecops.loading.pickle_vm.arrays import ArrayReader, array
from mlsecops.loading.pickle_vm.stack import CallResult, Container
from mlsecops.loading.pickle_vm.state_values import demand, items, made, whole

_INDEX: Final = "a sparse matrix with an index outside of its shape"
_TREE_STATE: Final = 13  # items; `_binary_tree.pxi.tp`, `__getstate__`
_MT19937_WORDS: Final = 624  # uint32; mt19937.h, RK_STATE_LEN
_PHILOX_BUFFER: Final = 4  # uint64; philox.h, PHILOX_BUFFER_SIZE


def _shape(state: dict[str, Any]) -> tuple[int, ...]:
    shape = state["_shape"]
    demand(isinstance(shape, tuple) and 1 <= len(shape) <= 64, "a sparse matrix without a shape")  # noqa: PLR2004 - NumPy's most
    return tuple(whole(size) for size in shape)


def _dimensions(value: Any) -> tuple[int, ...]:
    found = array(value)
    if found is None:
        raise ValueError("something that is not an array")
    return found.shape


def _indices(reader: ArrayReader, value: Any) -> Any:
    numbers = reader.numbers(value)
    demand(numbers.ndim == 1 and numbers.dtype.kind == "i", "indices that are no whole numbers")
    return numbers


def _require_below(numbers: Any, most: int) -> None:
    demand(not len(numbers) or (numbers.min() >= 0 and numbers.max() < most), _INDEX)


def require_compressed(value: CallResult, reader: ArrayReader) -> None:
    """Demand a csr, csc or bsr matrix whose pointers and indices are inside it."""
    state = items(value.state, "_shape", "indptr", "indices", "data")
    shape, data = _shape(state), _dimensions(state["data"])
    demand(len(shape) <= 2, "a compressed matrix of many dimensions")  # noqa: PLR2004 - rows and columns
    rows, columns = (1, *shape)[-2:]
    block = data[1:] if "_bsr" in made(value) else (1, 1)
    demand(len(data) == (3 if "_bsr" in made(value) else 1), "a sparse matrix without its values")
    demand(len(block) == 2 and min(block) > 0, "blocks of no size")  # noqa: PLR2004 - as above
    demand(rows % block[0] == 0 and columns % block[1] == 0, "blocks that do not fit the shape")
    rows, columns = rows // block[0], columns // block[1]
    if "_csc" in made(value):
        rows, columns = columns, rows
    pointers, indices = _indices(reader, state["indptr"]), _indices(reader, state["indices"])
    ordered = len(pointers) == rows + 1 and pointers[0] == 0
    demand(ordered and bool((pointers[1:] >= pointers[:-1]).all()), "pointers that do not ascend")
    demand(pointers[-1] <= min(len(indices), data[0]), "pointers behind the values")
    demand(pointers.dtype == indices.dtype, "indices of two kinds")
    _require_below(indices, columns)


def require_coordinates(value: CallResult, reader: ArrayReader) -> None:
    """Demand a coo matrix whose coordinates are inside it."""
    state = items(value.state, "_shape", "data")
    shape, data = _shape(state), _dimensions(state["data"])
    coordinates = state.get("coords", (state.get("row"), state.get("col")))
    demand(isinstance(coordinates, tuple) and len(coordinates) == len(shape), _INDEX)
    for values, size in zip(coordinates, shape, strict=True):
        numbers = _indices(reader, values)
        demand((len(numbers),) == data, "a sparse matrix without its values")
        _require_below(numbers, size)


def require_diagonals(value: CallResult, reader: ArrayReader) -> None:
    """Demand a dia matrix with as many diagonals as offsets, each inside it."""
    state = items(value.state, "_shape", "offsets", "data")
    shape, data = _shape(state), _dimensions(state["data"])
    offsets = _indices(reader, state["offsets"])
    demand(len(shape) == len(data) == 2 and len(offsets) == data[0], "diagonals without offsets")  # noqa: PLR2004 - as above
    inside = not len(offsets) or (offsets.min() > -shape[0] and offsets.max() < shape[1])
    demand(inside or 0 in shape, _INDEX)


def require_neighbors(value: CallResult, reader: ArrayReader) -> None:
    """Demand a KD tree or ball tree whose nodes and points are inside it."""
    state = value.state
    demand(isinstance(state, tuple) and len(state) == _TREE_STATE, "another state")
    points = _dimensions(state[0])
    demand(len(points) == 2, "a tree without points")  # noqa: PLR2004 - points and features
    order = _indices(reader, state[1])
    nodes = reader.numbers(state[2], fields=("idx_start", "idx_end", "is_leaf"))
    demand(nodes.ndim == 1 and 0 < len(nodes) == state[6], "a tree without its nodes")
    bounds = _dimensions(state[3])
    halves = 2 if "kd_tree" in made(value) else 1
    demand(bounds == (halves, len(nodes), points[1]), "a tree without its bounds")
    demand(len(order) == points[0], "a tree without its order")
    demand(not len(order) or (order.min() >= 0 and order.max() < points[0]), _POINT)
    first, end = nodes["idx_start"], nodes["idx_end"]
    inner = (nodes["is_leaf"] == 0).nonzero()[0]
    demand(not len(inner) or 2 * int(inner.max()) + 2 < len(nodes), "a node without children")
    ordered = (first >= 0).all() and (first <= end).all() and (end <= points[0]).all()
    demand(bool(ordered), _POINT)
    if state[12] is not None:
        demand(_dimensions(state[12]) == points[:1], "weights of other points")


_POINT: Final = "a tree with a point that it does not have"


def require_generator(value: CallResult, _: ArrayReader) -> None:
    """Demand a bit generator whose position is inside its buffer."""
    state = value.state[0] if isinstance(value.state, tuple) else value.state
    found = items(state, "bit_generator", "state")
    inner = items(found["state"])
    if found["bit_generator"] == "MT19937" or "pos" in inner:
        position = whole(inner.get("pos"))
        demand(position <= _MT19937_WORDS, "a position behind its numbers")
        demand(_dimensions(inner.get("key")) == (_MT19937_WORDS,), "another number of words")
    if "buffer_pos" in found:
        position = whole(found["buffer_pos"])
        demand(position <= _PHILOX_BUFFER, "a position behind its numbers")


def require_spline(value: CallResult, reader: ArrayReader) -> None:
    """Demand a spline with a coefficient for each of its intervals."""
    found = items(value.state, "k")
    knots = reader.numbers(found.get("_t", found.get("t")))
    coefficients, degree = _dimensions(found.get("_c", found.get("c"))), whole(found["k"])
    demand(knots.ndim == 1 and knots.dtype.kind == "f", "a spline without knots")
    intervals = len(knots) - degree - 1
    demand(coefficients and coefficients[0] >= intervals > degree, "a spline without coefficients")


def require_vectors(state: Any, reader: ArrayReader, classes: int = 2) -> None:
    """Demand a support vector machine whose vectors and coefficients match.

    Args:
        state: Its symbolic state.
        reader: Reader of the arrays.
        classes: Number of classes; a regression is stored as one of two.
    """
    if not isinstance(state, Container) or "support_vectors_" not in state.items:
        return
    found = items(state, "support_", "_dual_coef_", "_intercept_", "n_features_in_")
    vectors = found["support_vectors_"]
    if isinstance(vectors, CallResult) and made(vectors).startswith("scipy.sparse."):
        return  # `require_compressed` has looked at it, and libsvm takes its shape
    vectors, support = _dimensions(found["support_vectors_"]), _indices(reader, found["support_"])
    total = len(support)
    demand(len(vectors) == 2 and vectors[0] in {0, total}, _VECTORS)  # noqa: PLR2004 - vectors and features
    demand(vectors[1] in {0, found["n_features_in_"]}, _VECTORS)
    demand(_dimensions(found["_dual_coef_"]) == (classes - 1, total), _VECTORS)
    demand(_dimensions(found["_intercept_"]) == (classes * (classes - 1) // 2,), _VECTORS)
    demand(not total or support.min() >= 0, _VECTORS)


_VECTORS: Final = "vectors, coefficients and intercepts that do not match"


def require_classes(state: Any, reader: ArrayReader) -> None:
    """Demand of a classifying support vector machine also a number of vectors for each class."""
    if isinstance(state, Container) and "support_vectors_" in state.items:
        found = items(state, "_n_support", "support_")
        counts = _indices(reader, found["_n_support"])
        total = (int(counts.sum()),)
        demand(bool((counts >= 0).all()) and total == _dimensions(found["support_"]), _VECTORS)
        require_vectors(state, reader, len(counts))


def require_centers(state: Any, _: ArrayReader) -> None:
    """Demand cluster centers of as many features as their estimator takes."""
    if isinstance(state, Container) and "cluster_centers_" in state.items:
        features = items(state, "n_features_in_")["n_features_in_"]
        centers = _dimensions(state.items["cluster_centers_"])
        demand(len(centers) == 2 and centers[1] == features, "centers of other features")  # noqa: PLR2004 - centers and features
