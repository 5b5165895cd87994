"""Symbolic values that are not what they stand for: each refusal by its own message."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import FormatRefused
from mlsecops.loading import Limits
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.pickle_vm import states
from mlsecops.loading.pickle_vm.argument_kinds import kinds
from mlsecops.loading.pickle_vm.arrays import (
    ArrayReader,
    byte_count,
    require_buffer,
    require_state,
)
from mlsecops.loading.pickle_vm.call_rules import objection
from mlsecops.loading.pickle_vm.call_sizes import require_sizes
from mlsecops.loading.pickle_vm.compiled_states import _dimensions, require_vectors
from mlsecops.loading.pickle_vm.dtypes import layout
from mlsecops.loading.pickle_vm.joblib_arrays import raw_array
from mlsecops.loading.pickle_vm.stack import CallResult, Container, Global, fill, split_name
from mlsecops.loading.pickle_vm.state_values import items
from mlsecops.loading.pickle_vm.torch_tensors import storage_bytes
from mlsecops.loading.pickle_vm.tree_states import require_histogram_boosting
from mlsecops.loading.pickle_vm.walker import Walker

BUFFER = "numpy._core.numeric._frombuffer"
ARRAY = "numpy._core.multiarray._reconstruct"
FLOATS, OBJECTS = (CallResult("numpy.dtype", (kind, False, True)) for kind in ("<f4", "O8"))
STORED = CallResult("persistent", (("storage", Global("torch.FloatStorage"), "0", "cpu", 6),))
WRAPPER = {"dtype": FLOATS, "order": "C", "subclass": None, "allow_mmap": True}


def symbolic(value: Any) -> Any:
    walker = Walker(allowed=pickle_globals(), limits=Limits(), artifact="a", where="pickle")
    return walker.run(io.BytesIO(pickle.dumps(value, 4))).value


def wrapped(shape: Any) -> object:
    state = Container("builtins.dict", items={**WRAPPER, "shape": shape})
    return raw_array(io.BytesIO(b"12"), state)


def used() -> Container:
    return Container("builtins.dict", known=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: require_state(CallResult(ARRAY, state=(1, 2))), "state is not what NumPy writes"),
        (lambda: require_state(CallResult(ARRAY, state=(1, (2,), OBJECTS, False, b""))),
         "an array of objects whose shape is not the number of its objects"),
        (lambda: require_buffer(CallResult(BUFFER, (b"", OBJECTS, (0,), "C"))),
         "an array over a buffer whose items are objects"),
        (lambda: byte_count(3), "an array without its bytes"),
        (lambda: ArrayReader().numbers(3), "something that is not an array of numbers"),
        (lambda: ArrayReader().numbers(CallResult(BUFFER, (b"1234", FLOATS, (2,), "C"))),
         "an array whose bytes are not in the file"),
        (lambda: ArrayReader().numbers(symbolic(np.ones(2)), fields=("a",)),
         "records without the fields a"),
        (lambda: ArrayReader().numbers(symbolic(np.zeros(2, [("a", "<f4", (2,))]))),
         "an array of numbers of an unknown kind"),
        (lambda: ArrayReader().numbers(symbolic(np.zeros(2, [("a", [("b", "i4")])]))),
         "records of records"),
        (lambda: layout(3), "something that is not a known dtype"),
        (lambda: layout(CallResult("numpy.dtype", ("zz",))), "a dtype of unknown kind 'zz'"),
        (lambda: require_sizes("numpy._core.multiarray.scalar", (OBJECTS, b"12345678")),
         "a dtype of objects and no object"),
        (lambda: require_sizes("_codecs.encode", ()), "other arguments than the library writes"),
        (lambda: storage_bytes(3), "a reference that is not one to a storage"),
        (lambda: storage_bytes(("storage", Global("x"), "0", "cpu", 1)), "of unknown kind 'x'"),
        (lambda: storage_bytes(("storage", Global("torch.FloatStorage"), "0", "cpu", -1)),
         "a storage without a number of elements"),
        (lambda: require_sizes("torch._utils._rebuild_tensor", (STORED, 0, (1,), (1, 1))),
         "sizes, strides and offset contradict each other"),
        (lambda: require_sizes("torch._utils._rebuild_tensor_v3",
                               (STORED, 0, (1,), (1,), False, None, Global("os.x"))),
         "a tensor of unknown dtype"),
        (lambda: wrapped("x"), "array wrapper without a shape"),
        (lambda: wrapped((9,)), "array that is longer than the 2 bytes behind it"),
        (lambda: fill(Container("builtins.dict"), [1]), "odd number of items for a mapping"),
        (lambda: fill(used(), [1, 2]), "a container that changes after it was used"),
        (lambda: split_name("os"), "not a module and a name: 'os'"),
        (lambda: items(3, "a"), "a state without a"),
        (lambda: _dimensions(3), "something that is not an array"),
    ],
)  # fmt: skip
def test_a_value_that_lies_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_arrays_that_are_shared_are_read_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsecops.loading.pickle_vm.arrays._ANY_BYTES", 30)
    reader, value = ArrayReader(), symbolic(np.ones(3))
    assert reader.numbers(value).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="arrays that are used over and over again"):
        reader.numbers(value)


def test_a_state_at_which_a_check_stumbles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(states._CALL_CHECKS, "x", lambda value, _: value.state["a"])
    with pytest.raises(ValueError, match="a state that is not what the library writes"):
        states.require_state_inside(CallResult("x"), ArrayReader())


def test_only_an_imported_name_is_called() -> None:
    walker = Walker(allowed={"builtins.complex"}, limits=Limits(), artifact="a", where="pickle")
    found = walker.run(io.BytesIO(b"cbuiltins\ncomplex\n)R)R.")).findings
    assert any("calls something that is not an imported global" in each.message for each in found)


def test_a_mark_is_no_value() -> None:
    walker = Walker(allowed=(), limits=Limits(), artifact="a", where="pickle")
    with pytest.raises(FormatRefused, match="expected a value, got a mark"):
        walker.run(io.BytesIO(b"(2."))


REBUILD = Global("torch._utils._rebuild_tensor_v2")


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("copyreg._reconstructor", (Global("builtins.complex"), Global("builtins.object"), None),
         "makes an empty builtins.complex"),
        ("torch._tensor._rebuild_from_type_v2", (Global("os.system"), None, (1,), None),
         "call a function that does not rebuild a tensor"),
        ("torch._tensor._rebuild_from_type_v2", (REBUILD, None, None, None),
         "with computed arguments"),
        ("torch._tensor._rebuild_from_type_v2", (REBUILD, "Tensor", (1,), None),
         "with other arguments than torch writes"),
        ("own.call", (CallResult("builtins.range"),), "with a range"),
    ],
)  # fmt: skip
def test_a_call_that_no_library_makes_is_named(name: str, arguments: Any, reason: str) -> None:
    found = objection(name, "call", arguments)
    assert found is not None
    assert found.refuses
    assert reason in found.reason


def test_kinds_of_nested_and_of_many_arguments_are_cut() -> None:
    assert kinds(((((1,),),),)) == "((tuple*)*)"
    assert kinds(((1,) * 81,)) == "tuple"
    assert kinds(((1,) * 79, 2)) == "(int*), …"


def test_the_state_of_an_array_is_joblib_s_or_has_a_shape() -> None:
    require_state(CallResult(ARRAY, state=Container("builtins.dict")))
    with pytest.raises(ValueError, match="an array without a shape"):
        require_state(CallResult(ARRAY, state=(1, (-3,), FLOATS, False, b"")))


def test_an_estimator_that_was_not_fitted_has_nothing_to_check() -> None:
    for require in (require_vectors, require_histogram_boosting):
        require(Container("builtins.dict"), ArrayReader())
