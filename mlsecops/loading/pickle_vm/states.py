"""State checks of compiled classes, by the class whose state a pickle sets.

result of a call with its state → `require_state_inside` → ValueError where compiled code would
leave its arrays

A class that compiled code reads and that no check knows is on no allowlist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from mlsecops.loading.pickle_vm import compiled_states as compiled
from mlsecops.loading.pickle_vm import tree_states as trees
from mlsecops.loading.pickle_vm.argument_kinds import ARRAYS
from mlsecops.loading.pickle_vm.arrays import ArrayReader, require_state
from mlsecops.loading.pickle_vm.stack import CallResult, Container
from mlsecops.loading.pickle_vm.state_values import made

_CALL_CHECKS: Final[dict[str, Callable[[CallResult, ArrayReader], None]]] = {
    **{
        name: lambda value, _: require_state(value)
        for name in (*ARRAYS, "numpy.ma.core._mareconstruct")
        if name.endswith("reconstruct")
    },
    trees.TREE: trees.require_tree,
    trees.PREDICTOR: trees.require_predictor,
    "scipy.interpolate._bsplines.BSpline": compiled.require_spline,
    **{
        f"scipy.sparse._{kind}.{kind}_{form}": check
        for form in ("array", "matrix")
        for kind, check in (
            ("csr", compiled.require_compressed),
            ("csc", compiled.require_compressed),
            ("bsr", compiled.require_compressed),
            ("coo", compiled.require_coordinates),
            ("dia", compiled.require_diagonals),
        )
    },
    **{
        f"sklearn.neighbors._{kind}_tree.{name}{bits}": compiled.require_neighbors
        for kind, name in (("kd", "KDTree"), ("ball", "BallTree"))
        for bits in ("", "32", "64")
    },
    **dict.fromkeys(
        ("numpy.random._pickle.__bit_generator_ctor", "numpy.random._pickle.__randomstate_ctor"),
        compiled.require_generator,
    ),
}
_ESTIMATOR_CHECKS: Final[tuple[tuple[re.Pattern[str], Callable[[Any, ArrayReader], None]], ...]] = (
    (re.compile(r"sklearn\.tree\._classes\..*"), trees.require_holder),
    (re.compile(r"sklearn\.ensemble\._(forest|iforest)\..*"), trees.require_forest),
    (re.compile(r"sklearn\.ensemble\._gb\..*"), trees.require_boosting),
    (
        re.compile(r"sklearn\.ensemble\._hist_gradient_boosting\.gradient_boosting\..*"),
        trees.require_histogram_boosting,
    ),
    (re.compile(r"sklearn\.svm\._classes\.(Nu)?SVC"), compiled.require_classes),
    (re.compile(r"sklearn\.svm\._classes\.((Nu)?SVR|OneClassSVM)"), compiled.require_vectors),
    (re.compile(r"sklearn\.cluster\._kmeans\.\w*KMeans"), compiled.require_centers),
)
_RECURRENT: Final = re.compile(r"torch\.nn\.modules\.rnn\.(RNN|LSTM|GRU|RNNBase)")


def require_state_inside(value: CallResult, reader: ArrayReader) -> None:
    """Demand that compiled code which uses a state stays in its arrays.

    Args:
        value: Result of a call whose state is set.
        reader: Reader of the arrays in the state.

    Raises:
        ValueError: It would leave them.
    """
    name = made(value)
    try:
        if check := _CALL_CHECKS.get(name):
            check(value, reader)
        elif name.startswith("sklearn."):
            for pattern, require in _ESTIMATOR_CHECKS:
                if pattern.fullmatch(name):
                    require(value.state, reader)
        elif _RECURRENT.fullmatch(name):
            _require_layers(value.state, reader)
    except (TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError("a state that is not what the library writes") from error


def _require_layers(state: Any, reader: ArrayReader) -> None:
    """Demand a number of layers that the file could hold: torch runs through them on loading."""
    layers = state.items.get("num_layers") if isinstance(state, Container) else None
    if type(layers) is not int or not 0 <= layers <= reader.position:
        raise ValueError("more layers than the file has bytes")
