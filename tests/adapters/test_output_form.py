"""Each form of output gives the figure of plain logits, or is refused with `output=` named."""

from __future__ import annotations

import os
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlsecops import PGD, adapt, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import Square

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
torch = pytest.importorskip("torch")
softmax, sigmoid = torch.nn.functional.softmax, torch.sigmoid
Pair = namedtuple("Pair", "scores hidden")  # noqa: PYI024 - the plain kind is what models return
X = np.random.default_rng(0).random((60, 6), dtype=np.float32)


@dataclass
class Answer:
    """As Hugging Face's outputs."""

    logits: Any
    loss: Any = None


class Formed(torch.nn.Module):
    """Linear scores, scaled as trained ones are, in a form."""

    def __init__(self, form: Callable[[Any], Any], width: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.form = torch.nn.Linear(6, width), form
        self.last.weight.data *= 10
        middle = torch.tensor(X).mean(0) @ self.last.weight.data.T
        self.last.bias.data = -middle

    def forward(self, x: Any) -> Any:
        return self.form(self.last(x))


def labels(model: Any) -> Any:
    """The net's own answers, a sixth of them wrong."""
    with torch.no_grad():
        z = model.last(torch.tensor(X))
    found = (z[:, 0] > 0).long() if z.shape[1] == 1 else z.argmax(1)
    y = found.numpy().copy()
    y[::6] = 1 - np.minimum(y[::6], 1)
    return y


def figure(form: Callable[[Any], Any], width: int = 3, **options: Any) -> float:
    model = Formed(form, width)
    attack = PGD(0.1, steps=8)
    report = evaluate_robustness(adapt(model, **options), X, labels(model), attack, checks=False)
    return report.worst.accuracy


SEVERAL: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda z: softmax(z, 1),
    "method": lambda z: z.softmax(1),
    "module": torch.nn.Softmax(1),
    "in place": lambda z: softmax(z * 1, 1).mul_(1),
    "log softmax": lambda z: z.log_softmax(1),
    "log of softmax": lambda z: softmax(z, 1).log(),
    "temperature": lambda z: softmax(z / 20, 1),
    "far softmax": lambda z: softmax(z * 50, 1),
    "reshaped": lambda z: softmax(z, 1)[:, :, None].squeeze(2),
    "small": lambda z: z * 1e-4,
    "large": lambda z: z * 1e4,
    "shifted": lambda z: z + 30,
    "tanh": torch.tanh,
    "pixels": lambda z: z[:, :, None, None],
    "middle axis": lambda z: z[:, None],
    "tuple": lambda z: (z,),
    "states": lambda z: (z, z[:, None].repeat(1, 4, 1)),
    "list": lambda z: [softmax(z, 1)],
    "dict": lambda z: OrderedDict(loss=None, out=z),
    "dict of both": lambda z: {"probabilities": softmax(z, 1), "logits": z},
    "dataclass": lambda z: Answer(logits=z),
    "named tuple": lambda z: Pair(softmax(z, 1), None),
    "object": lambda z: SimpleNamespace(logits=z),
}
ONE: dict[str, Callable[[Any], Any]] = {
    "squeezed": lambda z: z[:, 0],
    "sigmoid": sigmoid,
    "sigmoid squeezed": lambda z: sigmoid(z).squeeze(),
    "by hand": lambda z: 1 / (1 + (-z).exp()),
    "log sigmoid": torch.nn.functional.logsigmoid,
    "both": lambda z: torch.cat([1 - sigmoid(z), sigmoid(z)], 1),
    "second column": lambda z: softmax(torch.cat([-z / 2, z / 2], 1), 1)[:, 1],
    "dict": lambda z: {"probability": sigmoid(z)},
    "small": lambda z: z * 1e-4,
}
REFUSED: dict[str, Callable[[Any], Any]] = {
    "sigmoids": sigmoid,
    "logs of sigmoids": torch.nn.functional.logsigmoid,
    "sigmoids by hand": lambda z: 1 / (1 + (-z).exp()),
    "percent": lambda z: softmax(z, 1) * 100,
    "two heads": lambda z: (z, z * 2),
    "heads by name": lambda z: {"main": z, "other": z},
    "detector": lambda z: [{"boxes": z, "scores": each} for each in z],
    "tokens": lambda z: z[:, None].repeat(1, 4, 1),
    "transposed": lambda z: z.T,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("name", SEVERAL)
def test_every_form_of_several_columns_gives_the_figure_of_logits(name: str) -> None:
    assert figure(SEVERAL[name]) == pytest.approx(figure(lambda z: z), abs=0.01)


@pytest.mark.parametrize("name", ONE)
def test_every_form_of_one_column_gives_the_figure_of_a_logit(name: str) -> None:
    assert figure(ONE[name], 1) == pytest.approx(figure(lambda z: z, 1), abs=0.01)


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_several_things_is_refused_with_the_option_named(name: str) -> None:
    with pytest.raises(UsageError, match="output="):
        figure(REFUSED[name])


@pytest.mark.parametrize(
    ("form", "output", "width"),
    [
        (lambda z: (z * 2, z), lambda answer: answer[1], 3),
        (lambda z: {"a": z * 2, "b": softmax(z, 1)}, ("probabilities", lambda a: a["b"]), 3),
        (lambda z: softmax(z, 1), "probabilities", 3),
        (lambda z: z, "logits", 3),
        (lambda z: z.log_softmax(1), "log-probabilities", 3),
        (sigmoid, "probability", 1),
        (lambda z: z, "logit", 1),
        (lambda z: sigmoid(z).log(), "log-probability", 1),
    ],
)
def test_the_caller_says_what_the_output_is(form: Any, output: Any, width: int) -> None:
    expected = figure(lambda z: z, width)
    assert figure(form, width, output=output) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("form", "output", "width"),
    [
        (lambda z: z, "probabilities", 3),
        (lambda z: z, "probability", 3),
        (lambda z: z, "logits", 1),
        (sigmoid, "logit", 1),
        (lambda z: z, lambda answer: answer["absent"], 3),
        (lambda z: z, lambda _: "text", 3),
        (lambda z: z, "probs", 3),
        (lambda z: z, ("logits", "second"), 3),
        (lambda z: z, 3, 3),
    ],
)
def test_a_caller_that_contradicts_the_output_is_refused(
    form: Any, output: Any, width: int
) -> None:
    with pytest.raises(UsageError, match=r"output|probab"):
        figure(form, width, output=output)


def test_the_form_and_how_it_is_known_stand_in_the_report() -> None:
    model = Formed(lambda z: {"out": softmax(z, 1)})
    report = evaluate_robustness(model, X, labels(model), PGD(0.1, steps=1), checks=False)
    assert report.output == "out: probabilities (last operation softmax)"
    assert report.to_dict()["output"] == report.output


def test_a_later_batch_that_is_no_probability_is_refused() -> None:
    view = adapt(Formed(lambda z: torch.where(z.abs().max() < 90, softmax(z, 1) * 1, z)))
    view.logits(X)
    with pytest.raises(UsageError, match="output="):
        view.logits(X * 1000)


def test_a_single_row_may_lose_its_axis() -> None:
    for form, width in ((lambda z: z.squeeze(), 3), (lambda z: sigmoid(z).squeeze(), 1)):
        model = Formed(form, width)
        every = adapt(model)
        assert np.allclose(every.logits(X)[:1], every.logits(X[:1]), atol=1e-5)


@pytest.mark.parametrize("framework", ["keras", "sklearn", "onnx"])
@pytest.mark.parametrize("form", ["logits", "softmax", "tuple", "sigmoids"])
def test_other_frameworks_read_the_same_forms(framework: str, form: str) -> None:
    model = Formed(lambda z: z)
    x, y = X, labels(model)
    other = {"keras": keras_model, "sklearn": sklearn_model, "onnx": onnx_model}[framework]
    attack = PGD(0.1, steps=8) if framework == "keras" else Square(0.1, queries=30)
    expected = evaluate_robustness(model, x, y, attack, checks=False).worst.accuracy
    if form == "sigmoids":
        with pytest.raises(UsageError, match="output="):
            evaluate_robustness(other(model, form), x, y, attack, checks=False)
        return
    report = evaluate_robustness(other(model, form), x, y, attack, checks=False)
    assert report.worst.accuracy == pytest.approx(expected, abs=0.02)  # one of 60 samples


def keras_model(net: Any, form: str) -> Any:
    keras = pytest.importorskip("keras")
    entry = keras.Input((6,))
    dense = keras.layers.Dense(3)
    inner = keras.Sequential([keras.Input((6,)), dense])
    dense.set_weights([net.last.weight.detach().numpy().T, net.last.bias.detach().numpy()])
    end = {"softmax": keras.ops.softmax, "sigmoids": keras.ops.sigmoid}.get(form, lambda z: z)
    out = end(inner(entry))
    return keras.Model(entry, (out,) if form == "tuple" else out)


def sklearn_model(net: Any, form: str) -> Any:
    from sklearn.base import BaseEstimator  # noqa: PLC0415 - only where it is used

    class Own(BaseEstimator):  # type: ignore[misc] # the library has no types
        def predict_proba(self, x: Any) -> Any:
            with torch.no_grad():
                z = net.last(torch.tensor(np.asarray(x, np.float32)))
            end = {"softmax": lambda v: softmax(v, 1), "sigmoids": sigmoid}.get(form, lambda v: v)
            out = end(z).numpy()
            return (out,) if form == "tuple" else out

    return Own()


def onnx_model(net: Any, form: str) -> Any:
    helper = pytest.importorskip("onnx").helper
    kind = {"softmax": "Softmax", "sigmoids": "Sigmoid"}.get(form, "Identity")
    one = helper.TensorProto if hasattr(helper, "TensorProto") else __import__("onnx").TensorProto
    arrays = {"w": net.last.weight.detach().numpy(), "b": net.last.bias.detach().numpy()}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1),
            helper.make_node(kind, ["z"], ["out"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", one.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("out", one.FLOAT, ["n", 3])],
        [helper.make_tensor(k, one.FLOAT, v.shape, v.ravel()) for k, v in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)
