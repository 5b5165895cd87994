"""States in skops archives that compiled code would follow out of its arrays."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import Verdict, scan
from tests.attackers import skops_states as attack

pytest.importorskip("skops.io")
pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

X = np.random.default_rng(0).normal(size=(60, 4))
Y = (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)
WORDS = ["aa bb", "bb cc dd", "dd ee", "aa ee"] * 5
RANDOM = np.random.RandomState(3)
HONEST = {
    "tree": DecisionTreeClassifier().fit(X, Y),
    "outputs": DecisionTreeRegressor(random_state=RANDOM).fit(X, X[:, :2]),
    "generator": DecisionTreeClassifier(random_state=0).fit(X, Y),
    "forest": RandomForestClassifier(3).fit(X, Y),
    "boosting": GradientBoostingClassifier(n_estimators=3).fit(X, Y),
    "histogram": HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2).fit(X, Y),
    "categories": HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(
        np.round(X), Y
    ),
    "kd": KNeighborsClassifier(algorithm="kd_tree").fit(X, Y),
    "ball": KNeighborsClassifier(algorithm="ball_tree").fit(X, Y),
    "svc": SVC().fit(X, Y),
    "sparse svc": SVC().fit(sparse.csr_matrix(X), Y),
    "svr": SVR().fit(X, Y),
    "line": LogisticRegression().fit(X, Y),
    "sparse line": LogisticRegression().fit(X, Y).sparsify(),
    "loss": SGDClassifier().fit(X, Y),
    "text": make_pipeline(TfidfVectorizer(), KNeighborsClassifier(2)).fit(WORDS, [0, 1] * 10),
    "twice": [HONEST_TREE := DecisionTreeClassifier().fit(X, Y), HONEST_TREE],
    "rng": [np.random.default_rng(0), np.random.RandomState(1)],
    "bytes": [b"a", {1: 2}, {"a"}, np.ma.array([1, 2], mask=[0, 1]), np.array([None, "a"])],
    **{
        f"{kind}_{form}": getattr(sparse, f"{kind}_{form}")(np.eye(4))
        for kind in ("csr", "csc", "bsr", "coo", "dia")
        for form in ("matrix", "array")
    },
}


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    return {name: attack.dumped(model) for name, model in HONEST.items()}


def verdict(folder: Path, data: bytes) -> Verdict:
    place = folder / "model.skops"
    place.write_bytes(data)
    return scan(place)


@pytest.mark.parametrize("name", HONEST)
def test_honest_archives_are_clean(tmp_path: Path, archives: dict[str, bytes], name: str) -> None:
    found = verdict(tmp_path, archives[name])
    assert not found.findings
    assert not found.unchecked


def put(place: Any, value: Any) -> Any:
    """Change of an array at one place."""

    def change(values: Any) -> None:
        target = values
        for part in place[:-1] if isinstance(place, tuple) else ():
            target = target[part]
        target[place[-1] if isinstance(place, tuple) else place] = value

    return change


def under(*names: str) -> Any:
    """Place of the node under nested names."""

    def find(node: Any) -> Any:
        for name in names:
            node = attack.found(node, name)
        return node

    return find


def neighbor(index: int) -> Any:
    return lambda schema: attack.found(schema, "_tree")["content"]["content"][index]


ARRAYS = {
    "child outside": ("tree", under("nodes"), put(("left_child", 0), 1 << 33)),
    "child before": ("tree", under("nodes"), put(("right_child", 0), 0)),
    "feature outside": ("tree", under("nodes"), put(("feature", 0), 99)),
    "fewer values": ("outputs", under("values"), lambda values: values[:1]),
    "tree of a forest": ("forest", under("nodes"), put(("left_child", 0), 1 << 33)),
    "tree of boosting": ("boosting", under("nodes"), put(("feature", 0), 4)),
    "predictor": ("histogram", under("nodes"), put(("left", 0), 1 << 30)),
    "predictor's feature": ("histogram", under("nodes"), put(("feature_idx", 0), 7)),
    "order of a KD tree": ("kd", neighbor(1), put(0, 1 << 40)),
    "node of a KD tree": ("kd", neighbor(2), put(("idx_end", 0), 1 << 40)),
    "node of a ball tree": ("ball", neighbor(2), put(("idx_start", 0), -9)),
    "bounds of a ball tree": ("ball", neighbor(3), lambda values: values[:, :, :1]),
    "support vectors": ("svc", under("support_vectors_"), lambda values: values[:1]),
    "number of vectors": ("svc", under("_n_support"), put(0, 1 << 20)),
    "coefficients": ("svr", under("_dual_coef_"), lambda values: values[:, :1]),
}
MATRICES = {
    "csr index": ("csr_matrix", "indices", put(1, 1 << 28)),
    "csr array index": ("csr_array", "indices", put(1, -1)),
    "csc pointer": ("csc_matrix", "indptr", put(4, 1 << 28)),
    "bsr index": ("bsr_matrix", "indices", put(0, 9)),
    "coo row": ("coo_matrix", "row", put(0, 1 << 28)),
    "dia offset": ("dia_matrix", "offsets", put(0, 1 << 28)),
    "shape": ("csr_matrix", "shape", put(1, 2)),
    "format": ("csr_matrix", "format", lambda _: np.array("csc_Q")),
    "text part of a model": ("text", "indices", put(0, 1 << 28)),
    "sparse coefficients": ("sparse line", "indices", put(0, 1 << 28)),
    "sparse vectors": ("sparse svc", "indptr", put(1, 1 << 28)),
}


@pytest.mark.parametrize("lie", ARRAYS)
def test_arrays_that_lie_are_refused(tmp_path: Path, archives: dict[str, bytes], lie: str) -> None:
    name, where, change = ARRAYS[lie]
    found = verdict(tmp_path, attack.with_array(archives[name], where, change))
    assert {each.rule for each in found.findings} == {"skops-state"}
    assert found.refused


@pytest.mark.parametrize("lie", MATRICES)
def test_matrices_that_lie_are_refused(
    tmp_path: Path, archives: dict[str, bytes], lie: str
) -> None:
    name, member, change = MATRICES[lie]
    found = verdict(tmp_path, attack.with_matrix(archives[name], member, change))
    assert found.refused


def renamed(*names: str, **values: Any) -> Any:
    """Change of the node under nested names."""

    def change(schema: Any) -> None:
        node = under(*names)(schema) if names else schema
        assert node
        node.pop("__id__")  # skops shares equal numbers, and reads the first one
        node.update({key.replace("dunder_", "__") + "__" * key.startswith("dunder_"): value
                     for key, value in values.items()})  # fmt: skip

    return change


def hide(schema: Any) -> None:
    """Let skops read another tree first, under the identity of the one that fits."""
    state = schema["content"]
    fits = state["content"]["tree_"]
    other = copy.deepcopy(fits)
    other["__reduce__"]["args"]["content"][0] = attack.text(9)
    state["content"] = {"first": other, **state["content"]}
    state["key_types"]["content"].append(state["key_types"]["content"][0])


def numbers_in_rows(schema: Any) -> None:
    """Put a number in place of a tree."""
    attack.found(schema, "estimators_")["content"][0]["content"][0] = attack.text(1)


def shared_list(schema: Any) -> None:
    """Use one long list in very many states."""
    forest = copy.deepcopy(schema)
    trees = attack.found(schema, "estimators_")
    trees["content"] *= 500
    again = [attack.found(forest, "estimators_"), forest, forest["content"]]
    for node in again[1:]:
        node.pop("__id__")
    again[0].update(__loader__="CachedNode", content=None, __id__=trees["__id__"])
    first = copy.deepcopy(schema)
    schema.clear()
    schema.update({**trees, "__id__": 1, "content": [first] + [forest] * 40})


def fewer_keys(schema: Any) -> None:
    """Leave names to keys that are not text."""
    schema["content"]["key_types"]["content"][0]["__class__"] = "int"


def shorter_rows(schema: Any) -> None:
    """Give the array of trees another shape than its lists."""
    attack.found(schema, "estimators_")["content"][0]["content"] *= 2


def generator_as_object(schema: Any) -> None:
    """Build a bit generator by its class, with a position behind its numbers."""
    node = schema["content"][1]
    node.update(__class__="MT19937", __module__="numpy.random._mt19937", __loader__="ObjectNode")
    attack.found(node, "pos").pop("__id__")
    attack.found(node, "pos")["content"] = "70000"


SCHEMAS = {
    "features of a forest": ("forest", renamed("n_features_in_", content="9")),
    "features of a tree": ("tree", renamed("n_features_in_", content="5")),
    "nodes of a tree": ("tree", renamed("node_count", content="99")),
    "state as JSON": ("forest", renamed("content", **attack.text({"n_features_in_": 4}))),
    "position": ("rng", renamed("pos", content="70000")),
    "position of the estimator's": ("outputs", renamed("pos", content="70000")),
    "keys": ("forest", fewer_keys),
    "loss": ("boosting", renamed("closs", dunder_class="ndarray", dunder_module="numpy")),
    "array that calls": ("line", renamed("coef_", dunder_class="dict", dunder_module="builtins")),
    "scalar elsewhere": ("tree", renamed("n_classes_", file="schema.json")),
    "array elsewhere": ("line", renamed("coef_", file="schema.json")),
    "masked vectors": ("svc", lambda schema: attack.found(schema, "support_vectors_").update(
        attack.text(None))),
    "identity": ("tree", hide),
    "number for a tree": ("boosting", numbers_in_rows),
    "dict that calls": ("forest", renamed("content", dunder_class="Counter",
                                          dunder_module="collections")),
    "shared list": ("forest", shared_list),
    "rows": ("boosting", shorter_rows),
    "no loader": ("tree", lambda schema: attack.found(schema, "tree_").pop("__loader__")),
    "list that calls": ("twice", renamed(dunder_class="ndarray", dunder_module="numpy")),
    "generator as object": ("rng", generator_as_object),
}  # fmt: skip


@pytest.mark.parametrize("lie", SCHEMAS)
def test_schemas_that_lie_are_refused(tmp_path: Path, archives: dict[str, bytes], lie: str) -> None:
    name, change = SCHEMAS[lie]
    found = verdict(tmp_path, attack.with_schema(archives[name], change))
    assert "skops-state" in {each.rule for each in found.findings}
    assert found.refused


def test_an_object_with_a_state_that_no_library_writes_is_refused(
    tmp_path: Path, archives: dict[str, bytes]
) -> None:
    def listed(schema: Any) -> None:
        schema["content"] = {
            "__class__": "list", "__module__": "builtins", "__loader__": "ListNode",
            "content": [], "__id__": 1,
        }  # fmt: skip

    (found,) = verdict(tmp_path, attack.with_schema(archives["line"], listed)).findings
    assert found.rule == "skops-state"
    assert "a state of kind list" in found.message


def test_an_object_that_no_library_makes_empty_is_refused(
    tmp_path: Path, archives: dict[str, bytes]
) -> None:
    def empty(schema: Any) -> None:
        schema |= {
            "__module__": "sklearn.utils.validation", "__class__": "check_array", "content": None,
        }  # fmt: skip

    (found,) = verdict(tmp_path, attack.with_schema(archives["line"], empty)).findings
    assert "makes an empty sklearn.utils.validation.check_array" in found.message


@pytest.mark.parametrize("loader", ["FunctionNode", "TypeNode"])
def test_a_partial_of_another_function_is_refused(
    tmp_path: Path, archives: dict[str, bytes], loader: str
) -> None:
    def another(schema: Any) -> None:
        attack.found(attack.found(schema, "func"), "func").update(
            {"__module__": "numpy", "__class__": "mean", "__loader__": loader}
        )

    found = verdict(tmp_path, attack.with_schema(archives["categories"], another)).findings
    assert any("calls functools.partial with (@numpy.mean)" in each.message for each in found)
