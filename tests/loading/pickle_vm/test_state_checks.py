"""Each demand on a state and on a call's numbers, one at a time."""

import io
import pickle
from typing import Any

import numpy as np
import pytest

from mlsecops.loading import Limits
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.pickle_vm import compiled_states
from mlsecops.loading.pickle_vm.arrays import ArrayReader, require_state
from mlsecops.loading.pickle_vm.call_sizes import require_sizes
from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global
from mlsecops.loading.pickle_vm.walker import Walker
from tests.attackers import pickle_calls as attack


def symbolic(value: Any) -> Any:
    walker = Walker(allowed=pickle_globals(), limits=Limits(), artifact="a", where="pickle")
    return walker.run(io.BytesIO(pickle.dumps(value, 4))).value


def state(**values: Any) -> Container:
    return Container("builtins.dict", items={key: symbolic(each) for key, each in values.items()})


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


CSR = {"_shape": (2, 2), "indptr": ints(0, 1, 2), "indices": ints(0, 1), "data": np.ones(2)}
BSR = {**CSR, "_shape": (2, 4), "data": np.ones((2, 1, 2))}
COO = {"_shape": (2, 2), "coords": (ints(0, 1), ints(0, 1)), "data": np.ones(2)}
DIA = {"_shape": (2, 2), "offsets": ints(0), "data": np.ones((1, 2))}
LIES = [
    ("csr", CSR, {"_shape": 3}),
    ("csr", CSR, {"_shape": (2, 2, 2)}),
    ("csr", CSR, {"data": np.ones((2, 2))}),
    ("csr", CSR, {"data": np.ones(1)}),
    ("csr", CSR, {"indices": np.ones(2)}),
    ("csr", CSR, {"indices": np.zeros((2, 1), np.int32)}),
    ("csr", CSR, {"indices": np.zeros(2, np.int64)}),
    ("bsr", BSR, {"data": np.ones((2, 1, 0))}),
    ("bsr", BSR, {"data": np.ones((2, 2, 3))}),
    ("coo", COO, {"coords": (ints(0, 1),)}),
    ("coo", COO, {"data": np.ones(3)}),
    ("dia", DIA, {"data": np.ones((2, 2))}),
    ("dia", DIA, {"_shape": (2,)}),
]
CHECKS: dict[str, Any] = {
    "csr": compiled_states.require_compressed,
    "bsr": compiled_states.require_compressed,
    "coo": compiled_states.require_coordinates,
    "dia": compiled_states.require_diagonals,
}


@pytest.mark.parametrize(("kind", "honest", "lie"), LIES)
def test_each_lie_of_a_sparse_matrix_is_found(kind: str, honest: Any, lie: Any) -> None:
    name = f"scipy.sparse._{kind}.{kind}_matrix"
    reader = ArrayReader()
    CHECKS[kind](CallResult(name, state=state(**honest)), reader)
    with pytest.raises(ValueError, match=r"."):
        CHECKS[kind](CallResult(name, state=state(**{**honest, **lie})), reader)


SVR = {
    "support_vectors_": np.ones((2, 3)), "support_": ints(0, 1), "_dual_coef_": np.ones((1, 2)),
    "_intercept_": np.ones(1), "n_features_in_": 3,
}  # fmt: skip
VECTOR_LIES = (
    {"support_vectors_": np.ones((1, 3))}, {"support_vectors_": np.ones((2, 2))},
    {"_dual_coef_": np.ones((1, 1))}, {"_intercept_": np.ones(0)}, {"support_": ints(-1, 0)},
)  # fmt: skip


@pytest.mark.parametrize("lie", VECTOR_LIES)
def test_each_lie_of_a_vector_machine_is_found(lie: Any) -> None:
    compiled_states.require_vectors(state(**SVR), ArrayReader())
    with pytest.raises(ValueError, match="do not match"):
        compiled_states.require_vectors(state(**{**SVR, **lie}), ArrayReader())


def test_an_array_with_a_state_of_another_size_is_refused() -> None:
    honest = symbolic(np.ones(3))
    require_state(honest)
    version, _, dtype, order, data = honest.state
    for shape in ((4,), (1 << 62,), (3,) * 65, (-3,)):
        with pytest.raises(ValueError, match="array"):
            require_state(CallResult(honest.name, state=(version, shape, dtype, order, data)))


STORED = CallResult("persistent", (("storage", Global("torch.FloatStorage"), "0", "cpu", 6),))
BYTES = CallResult(
    "persistent", (("storage", Global("torch.storage.UntypedStorage"), "0", "cpu", 6),)
)
SIZES: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("_codecs.encode", ("a", "latin1"), ("a", "zlib")),
    ("builtins.bytearray", ("a", "latin-1"), ("a", "zlib")),
    ("builtins.bytearray", (b"a",), (1 << 40,)),
    ("fractions.Fraction", ("-1/3",), ("1e9",)),
    ("fractions.Fraction", (1, 3), (1.5, 3)),
    ("pathlib.PosixPath", ("a",), (CallResult("builtins.range"),)),
    ("numpy.core.multiarray._reconstruct", (None, (0,), b"b"), (None, (9,), b"b")),
    ("numpy.ma.core._mareconstruct", (None, None, (0,), b"b"), (None, None, (9,), b"b")),
    ("torch.Size", ((1, 2),), (("a",),)),
    ("torch.Size", ((1, 2),), ((1,) * 65,)),
    ("torch._utils._rebuild_tensor", (STORED, 0, (6,), (1,)), (STORED, 1, (6,), (1,))),
    ("torch._utils._rebuild_tensor_v2", (STORED, 0, (2, 3), (3, 1), False, None),
     (STORED, 0, (2, 3), (4, 1), False, None)),
    ("torch._utils._rebuild_tensor_v2", (STORED, 0, (9, 0), (1, 1), False, None),
     (None, 0, (1,), (1,), False, None)),
    ("torch._utils._rebuild_tensor_v3",
     (BYTES, 0, (3,), (1,), False, None, Global("torch.uint16")),
     (BYTES, 0, (4,), (1,), False, None, Global("torch.uint16"))),
    ("torch._utils._rebuild_qtensor", (STORED, 0, (6,), (1,), None, False, None),
     (STORED, 0, (1 << 40,), (0,), None, False, None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "honest", "lie"), SIZES)
def test_each_size_is_held_against_the_file(name: str, honest: Any, lie: Any) -> None:
    require_sizes(name, honest)
    with pytest.raises(ValueError, match=r"."):
        require_sizes(name, lie)


@pytest.mark.parametrize("key", ["Tree", "Philox", "MT19937"])
def test_a_generator_or_tree_with_its_own_numbers_passes(key: str) -> None:
    if key == "Tree":
        tree = pytest.importorskip("sklearn.tree")
        value: Any = tree.DecisionTreeRegressor().fit(np.eye(3), [1, 2, 3])
    else:
        value = np.random.Generator(getattr(np.random, key)(1))
    walker = Walker(allowed=pickle_globals(), limits=Limits(), artifact="a", where="pickle")
    assert not walker.run(io.BytesIO(pickle.dumps(value))).findings
    assert attack.generators_that_lie()
