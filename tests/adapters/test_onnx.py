from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mlsecops import SecureLoader, Signer, TrustPolicy, adapt, sign
from mlsecops.errors import UsageError
from mlsecops.robustness import FGSM, Square, evaluate_robustness

X = np.random.default_rng(0).random((20, 6), dtype=np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
LOGITS = X @ WEIGHT


def linear(
    *, softmax: bool = False, batch: Any = "n", kind: int = TensorProto.FLOAT, label: bool = False
) -> Any:
    """``x @ WEIGHT``, perhaps as probabilities, perhaps with a label before the scores."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=1))
    scores = "p" if softmax else "z"
    outputs = [helper.make_tensor_value_info(scores, kind, [batch, 3])]
    if label:
        nodes.append(helper.make_node("ArgMax", [scores], ["label"], axis=1, keepdims=0))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", kind, [batch, 6])],
        outputs,
        [numpy_helper.from_array(WEIGHT.astype(dtype), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def softmax(logits: NDArray[np.float32]) -> Any:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"softmax": True},
        {"softmax": True, "label": True},
        {"kind": TensorProto.DOUBLE},
        {"batch": 8},
        {"batch": 1, "softmax": True},
    ],
)
def test_an_onnx_model_gives_its_scores_and_probabilities(options: dict[str, Any]) -> None:
    adapter = adapt(linear(**options))
    assert np.allclose(adapter.predict(X), softmax(LOGITS), atol=1e-5)
    difference = adapter.logits(X) - LOGITS
    assert np.allclose(difference, difference[:, :1], atol=1e-4)
    assert adapter.logits(X).dtype == np.float32
    assert (adapter.logits(X[:3]) == adapter.logits(X)[:3]).all()
    assert not adapter.differentiable


def test_a_session_is_adapted_as_it_is() -> None:
    import onnxruntime  # noqa: PLC0415 - one test needs it

    session = onnxruntime.InferenceSession(linear().SerializeToString())
    assert np.allclose(adapt(session).logits(X), LOGITS, atol=1e-5)


def test_a_signed_onnx_model_is_loaded_and_attacked_by_its_scores(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "model.onnx")
    signer = Signer.generate("p256")
    sign(tmp_path / "model.onnx", signer)
    policy = TrustPolicy(keys=[signer.public_key])
    loaded = SecureLoader(policy).load(tmp_path / "model.onnx")
    assert loaded.adapter is not None
    y = LOGITS.argmax(axis=1)
    report = evaluate_robustness(loaded.adapter, X, y, [Square(0.2, queries=100)])
    assert report.worst.hits < report.clean.hits == 20
    with pytest.raises(UsageError, match="needs gradients"):
        evaluate_robustness(loaded.adapter, X, y, [FGSM(0.1)])


def test_what_an_onnx_model_lacks_is_said() -> None:
    adapter = adapt(linear())
    for missing in (
        lambda: adapter.loss_gradient(X, np.zeros(20, np.int64)),
        lambda: adapter.features(X),
        lambda: adapter.logits(X[:, :4]),
        lambda: adapt(linear(), device="cuda"),
        lambda: adapt(linear(), classes=5).logits(X),
    ):
        with pytest.raises(UsageError):
            missing()


def test_models_that_are_no_classifiers_are_refused() -> None:
    two = linear()
    two.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    two.graph.node.append(helper.make_node("Identity", ["more"], ["same"]))
    two.graph.output.append(helper.make_tensor_value_info("same", TensorProto.FLOAT, [1]))
    with pytest.raises(UsageError, match="one input of numbers"):
        adapt(two)
    labels = linear(label=True)
    del labels.graph.output[1]
    with pytest.raises(UsageError, match="expected scores of classes"):
        adapt(labels).logits(X)
    broken = linear()
    broken.graph.node[0].op_type = "NoSuchThing"
    with pytest.raises(UsageError, match="cannot run"):
        adapt(broken)


def tokens_model(kind: int) -> onnx.ModelProto:
    """Scores of the second of three tokens, from a table of 20."""
    table = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "wide"], ["rows"], axis=0),
            helper.make_node("ReduceMean", ["rows", "axes"], ["scores"], keepdims=0),
        ],
        "tokens",
        [helper.make_tensor_value_info("ids", kind, ["n", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8])
def test_token_ids_and_bytes_of_an_onnx_model_stay_integers(kind: int) -> None:
    view = adapt(tokens_model(kind))
    ids = np.array([[1, 2, 3], [4, 5, 19]])
    table = numpy_helper.to_array(tokens_model(kind).graph.initializer[0])
    np.testing.assert_allclose(view.logits(ids), table[ids].mean(axis=1), rtol=1e-5)
    for wrong in (np.array([[1.5, 2, 3]]), np.array([1, 2, 3])):
        with pytest.raises(UsageError, match="token ids"):
            view.logits(wrong)
