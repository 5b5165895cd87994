"""Attacks by allowed names: calls with numbers that the file does not hold, states that lie."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import zipfile
from typing import Any

import numpy as np

from tests.attackers.loading import imported, long_text, rebuilt_dtype, vector


class Reduced:
    """Pickles as any call with any state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        return self.reduced


START = b"\x80\x02"
MANY = b"J" + struct.pack("<i", 2_000_000_000)


def call(name: str, arguments: bytes) -> bytes:
    """A pickle of one call."""
    return START + imported(name) + arguments + b"R."


def calls_that_no_library_writes() -> dict[str, bytes]:
    """Calls of allowed names: over a buffer, of a size, of a class, or with computed arguments."""
    linear, eight = "torch.nn.modules.linear.Linear", b"U\x08AAAAAAAA"
    objects = rebuilt_dtype("O")
    ranged = imported("builtins.range") + MANY + b"\x85R"
    record = rebuilt_dtype("V2000000")
    return {
        "array over a buffer": call("numpy.ndarray", b"K\x01\x85" + objects + eight + b"\x87"),
        "record array over a buffer": call(
            "numpy.rec.recarray", b"K\x01\x85" + objects + eight + b"\x87"
        ),
        "array by INST": START + b"(K\x01\x85" + objects + eight + b"inumpy\nndarray\n.",
        "array by OBJ": START + b"(" + imported("numpy.ndarray") + b"K\x01\x85o.",
        "array by NEWOBJ": START + imported("numpy.ndarray") + vector(1 << 30) + b"\x85\x81.",
        "empty array of a shape": call("numpy._core.multiarray._reconstruct",
            imported("numpy.ndarray") + vector(1 << 30) + b"C\x01b\x87"),
        "objects in a buffer": call("numpy._core.numeric._frombuffer",
            b"(" + eight + objects + b"K\x01\x85" + long_text("C") + b"t"),
        "buffer of another size": call("numpy._core.numeric._frombuffer",
            b"(C\x02AA" + rebuilt_dtype("u1") + vector(1 << 30) + long_text("C") + b"t"),
        "scalar without bytes": call("numpy._core.multiarray.scalar", record + b"\x85"),
        "scalar of few bytes": call("numpy._core.multiarray.scalar", record + b"C\x01a\x86"),
        "dtype of many fields": call("numpy.dtype", long_text("i4,i4,i4") + b"\x89\x88\x87"),
        "range in a list in a tuple": call("builtins.list",
            imported("builtins.tuple") + b"](" + ranged + b"e\x85R"),
        "deque of a range": call("collections.deque", ranged + b"\x85"),
        "counter of a range": call("collections.Counter", ranged + b"\x85"),
        "set of a range": call("builtins.set", ranged + b"\x85"),
        "bytes of a number": call("builtins.bytes", MANY + b"\x85"),
        "bytearray of a computed number": call("builtins.bytearray",
            imported("builtins.int") + long_text("64000000000") + b"\x85R\x85"),
        "fraction with an exponent": call("fractions.Fraction", long_text("1e300000000") + b"\x85"),
        "fraction with a point": call("fractions.Fraction", long_text("1.5E99999999") + b"\x85"),
        "a layer": call(linear, MANY + MANY + b"\x86"),
        "a layer by INST": START + b"(" + MANY + MANY + b"itorch.nn.modules.linear\nLinear\n.",
        "a layer by NEWOBJ": START + imported(linear) + MANY + MANY + b"\x86\x81.",
        "a layer by NEWOBJ_EX": b"\x80\x04" + imported(linear) + b")}" + long_text("a")
            + b"K\x01s\x92.",
        "an embedding": call("torch.nn.modules.sparse.Embedding", MANY + MANY + b"\x86"),
        "a factory of layers": call("collections.defaultdict",
            imported("torch.nn.modules.transformer.Transformer") + b"\x85"),
        "a storage of a size": call("torch.FloatStorage", MANY + b"\x85"),
        "a tensor of a size": call("torch.FloatTensor", MANY + b"\x85"),
        "an estimator": call("sklearn.tree._classes.DecisionTreeClassifier", b")"),
        "an empty array": START + imported("numpy.ndarray") + b")\x81.",
        "an empty tree": call("copyreg._reconstructor",
            imported("sklearn.tree._tree.Tree") + imported("builtins.object") + b"N\x87"),
        "a class for an instance": START + imported("sklearn.linear_model._ridge.Ridge")
            + b")\x81N}" + long_text("__class__") + imported("scipy.sparse._csr.csr_matrix")
            + b"s\x86b.",
    }  # fmt: skip


def torch_files_that_lie(honest: bytes) -> dict[str, bytes]:
    """Archives of `torch.save` whose tensor or storage is larger than what is stored.

    Args:
        honest: An archive of one tensor of 77 floats.
    """

    def edited(change: Any) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(honest)) as old, zipfile.ZipFile(stream, "w") as new:
            for info in old.infolist():
                data = old.read(info)
                new.writestr(
                    info.filename, change(data) if info.filename.endswith("data.pkl") else data
                )
        return stream.getvalue()

    count, size = b"K\x4d", b"K\x4d\x85"
    return {
        "a longer storage": edited(lambda data: data.replace(count + b"t", MANY + b"t", 1)),
        "a longer tensor": edited(lambda data: data.replace(size, MANY + b"\x85", 1)),
        "another key": edited(lambda data: data.replace(long_text("0"), long_text("7"), 1)),
        "a step beyond": edited(lambda data: data.replace(b"K\x01\x85", b"K\x09\x85", 1)),
    }


def sparse_states_that_lie() -> dict[str, Any]:
    """Sparse matrices whose indices are outside of them."""
    from scipy import sparse  # noqa: PLC0415 - an optional package

    found: dict[str, Any] = {}
    for kind in ("csr", "csc", "bsr", "coo", "dia"):
        for form in ("array", "matrix"):
            made = getattr(sparse, f"{kind}_{form}")(np.eye(3))
            field = {"coo": "coords", "dia": "offsets"}.get(kind, "indices")
            values = getattr(made, field)
            (values[1] if kind == "coo" else values)[:1] = 1 << 28
            found[f"{kind}_{form}: {field}"] = made
    pointers = sparse.csr_matrix(np.eye(3))
    pointers.indptr[1] = 1 << 20
    negative = sparse.csc_array(np.eye(3))
    negative.indices[0] = -5
    shorter = sparse.csr_matrix(np.eye(3))
    shorter.indptr = shorter.indptr[:2]
    return {**found, "pointers": pointers, "negative": negative, "few pointers": shorter}


def tree_states_that_lie() -> dict[str, Any]:
    """Fitted estimators whose trees refer to what they do not have."""
    from sklearn import ensemble, tree  # noqa: PLC0415 - an optional package

    x = np.abs(np.random.default_rng(0).normal(size=(60, 3)))
    y = x[:, 0] > x[:, 1]
    model = tree.DecisionTreeClassifier().fit(x, y)

    def changed(field: str, value: int, at: int = 0) -> Any:
        made, arguments, state = model.tree_.__reduce__()
        state = {**state, "nodes": state["nodes"].copy()}
        state["nodes"][field][at] = value
        return held(Reduced(made, arguments, state))

    def held(inner: Any) -> Any:
        found = copy.copy(model)
        found.tree_ = inner
        return found

    made, (features, classes, outputs), state = model.tree_.__reduce__()
    wide = tree.DecisionTreeClassifier().fit(np.tile(x, 40), y)
    forest = ensemble.RandomForestClassifier(2).fit(x, y)
    forest.estimators_[1] = wide
    boosting = ensemble.GradientBoostingClassifier(n_estimators=2).fit(x, y)
    boosting.n_trees_per_iteration_ = 0
    others = copy.copy(forest)
    others.estimators_ = [1.0, 2.0]
    narrow = copy.copy(wide)
    narrow.n_features_in_ = 1
    unchecked = copy.copy(model)
    del unchecked.n_features_in_
    isolation = ensemble.IsolationForest(n_estimators=2, max_features=2).fit(x)
    isolation.estimators_features_ = [each[:1] for each in isolation.estimators_features_]
    return {
        "left child": changed("left_child", 1 << 33),
        "right child": changed("right_child", -9),
        "a path without an end": changed("left_child", 0),
        "feature": changed("feature", 1 << 20),
        "negative feature": changed("feature", -7),
        "more outputs than classes": held(Reduced(made, (features, classes, 9), state)),
        "more nodes": held(Reduced(made, (features, classes, outputs),
                                   {**state, "node_count": 1 << 30})),
        "values of fewer nodes": held(
            Reduced(made, (features, classes, outputs), {**state, "values": state["values"][:1]})
        ),
        "classes that are no numbers": held(
            Reduced(made, (features, classes.astype("f8"), outputs), state)
        ),
        "no tree": held(model),
        "forest of other models": others,
        "estimator of fewer features": narrow,
        "estimator of no features": unchecked,
        "forest with a wide tree": forest,
        "boosting with more columns": boosting,
        "isolation of fewer features": isolation,
        **histogram_states_that_lie(x, y),
    }  # fmt: skip


def histogram_states_that_lie(x: Any, y: Any) -> dict[str, Any]:
    """Histogram boosting whose predictors refer to what they do not have."""
    from sklearn import ensemble  # noqa: PLC0415 - an optional package

    found = {}
    for name, field, value in (
        ("left", "left", 1 << 30), ("loop", "right", 0), ("feature", "feature_idx", 99),
        ("category", "is_categorical", 1), ("bits", "bitset_idx", 1 << 20),
        ("negative", "feature_idx", -5),
    ):  # fmt: skip
        options: Any = {"categorical_features": [0]} if field == "bitset_idx" else {}
        model = ensemble.HistGradientBoostingClassifier(max_iter=2, **options)
        model.fit(np.round(x), y)
        nodes = model._predictors[0][0].nodes
        nodes[field][0] = value
        if field == "bitset_idx":
            nodes["is_categorical"][0] = 1
            nodes["feature_idx"][0] = 0
        found[f"histogram {name}"] = model
    for name in ("bins", "outputs", "words"):
        model = ensemble.HistGradientBoostingClassifier(max_iter=2).fit(x, y)
        first = model._predictors[0][0]
        if name == "bins":
            model._bin_mapper.is_categorical_ = model._bin_mapper.is_categorical_[:1]
        elif name == "outputs":
            model._predictors[0].append(first)
        else:
            first.raw_left_cat_bitsets = np.zeros((0, 1), np.uint32)
        found[f"histogram {name}"] = model
    return found


def other_states_that_lie() -> dict[str, Any]:
    """Neighbor trees, generators, splines, vector machines and clusters whose numbers lie."""
    from sklearn import cluster, neighbors, preprocessing, svm  # noqa: PLC0415 - an optional package

    x = np.random.default_rng(0).normal(size=(60, 3))
    found: dict[str, Any] = {}
    for kind in (neighbors.KDTree, neighbors.BallTree):
        for place in ("order", "end", "leaf", "few", "points", "nodes"):
            made, arguments, state = kind(x, 5).__reduce__()
            parts = [np.array(part) if isinstance(part, np.ndarray) else part for part in state]
            if place == "order":
                parts[1][0] = 1 << 30
            elif place == "end":
                parts[2]["idx_end"][3] = 1 << 30
            elif place == "leaf":
                parts[2]["is_leaf"][-1] = 0
            elif place == "points":
                parts[1] = parts[1][:9]
            elif place == "nodes":
                parts[6] = 1 << 20
            else:
                parts[3] = parts[3][:, :2]
            found[f"{kind.__name__} {place}"] = Reduced(made, arguments, tuple(parts))
    found |= generators_that_lie()
    spline = preprocessing.SplineTransformer().fit(x)
    spline.bsplines_[0]._c = spline.bsplines_[0]._c[:1]
    vectors = svm.SVC().fit(x, x[:, 0] > 0)
    vectors._n_support[0] = 1 << 20
    narrow = svm.SVR().fit(x, x[:, 0])
    narrow._dual_coef_ = narrow._dual_coef_[:, :1]
    clusters = cluster.KMeans(2).fit(x)
    clusters.cluster_centers_ = clusters.cluster_centers_[:, :1]
    return {**found, "spline": spline, "SVC": vectors, "SVR": narrow, "KMeans": clusters}


def generators_that_lie() -> dict[str, Any]:
    """Bit generators and random states whose position is outside of their buffer."""
    found: dict[str, Any] = {}
    for kind in (np.random.MT19937, np.random.Philox):
        made, arguments, (state, seeds) = kind(1).__reduce__()
        state = copy.deepcopy(state)
        if kind is np.random.Philox:
            state["buffer_pos"] = -9
        else:
            state["state"]["pos"] = 1 << 30
        found[kind.__name__] = Reduced(made, arguments, (state, seeds))
    made, arguments, state = np.random.RandomState(0).__reduce__()
    state = copy.deepcopy(state)
    state["state"]["pos"] = -1
    return {**found, "RandomState": Reduced(made, arguments, state)}


def shared_arrays(count: int) -> bytes:
    """A pickle whose matrices all share one large array of indices."""
    from scipy import sparse  # noqa: PLC0415 - an optional package

    first = sparse.csr_matrix(np.eye(2, 100_000))
    first.indices = np.zeros(100_000, np.int32)
    first.data = np.zeros(100_000, np.int8)
    return pickle.dumps([copy.copy(first) for _ in range(count)], 4)


def shared_fields(count: int) -> bytes:
    """Dtypes that all share one dict of 4,000 fields."""
    inner = rebuilt_dtype("u1") + b"q\x01"
    names = [f"f{n}" for n in range(4000)]
    pairs = b"".join(long_text(name) + b"h\x01K\x00\x86" for name in names)
    head = b"(" + inner + b"}(" + pairs + b"uq\x02("
    head += b"".join(map(long_text, names)) + b"tq\x03"
    head += imported("numpy.dtype") + b"q\x04"
    made = (
        b"h\x04X\x02\x00\x00\x00V1\x89\x88\x87R(K\x03X\x01\x00\x00\x00|Nh\x03h\x02K\x01K\x01K\x10tb"
    )
    return START + head + made * count + b"l."
