"""Forms of model outputs: the figure of each, compared with that of plain logits.

One net for ten classes and one for two, each behind every form on torch, on Keras and as a
scikit-learn classifier (numpy). A form is right if its accuracy under attack is within a point of
the plain net's, or if it is refused with `output=` named.

Run: `python -m benchmarks.attacks --part forms`
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

from mlsecops import PGD, evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.robustness import Square

POINT: Final = 0.01
Pair = namedtuple("Pair", "scores hidden")  # noqa: PYI024 - the plain kind is what models return
Form = Callable[[Any, Any], Any]


@dataclass
class Answer:
    """As Hugging Face's outputs."""

    logits: Any
    loss: Any = None


def both(o: Any, p: Any) -> Any:
    """Two columns of one probability."""
    return o.concat([1 - p, p])


def flat(o: Any, z: Any) -> Any:
    """Without the last axis."""
    return o.reshape(z, (-1,))


TEN: Final[dict[str, Form]] = {
    "logits": lambda _, z: z,
    "softmax": lambda o, z: o.softmax(z),
    "softmax, reshaped": lambda o, z: o.reshape(o.reshape(o.softmax(z), (-1, 10, 1)), (-1, 10)),
    "log softmax": lambda o, z: o.log_softmax(z),
    "log of softmax": lambda o, z: o.log(o.softmax(z)),
    "softmax / 10": lambda o, z: o.softmax(z / 10),
    "softmax * 3": lambda o, z: o.softmax(z * 3),
    "softmax in percent": lambda o, z: o.softmax(z) * 100,
    "sigmoids": lambda o, z: o.sigmoid(z),
    "log of sigmoids": lambda o, z: o.log(o.sigmoid(z)),
    "logits * 1e-4": lambda _, z: z * 1e-4,
    "logits * 1e-2": lambda _, z: z * 1e-2,
    "logits * 1e2": lambda _, z: z * 1e2,
    "logits * 1e4": lambda _, z: z * 1e4,
    "logits + 50": lambda _, z: z + 50,
    "logits - 50": lambda _, z: z - 50,
    "tanh": lambda o, z: o.tanh(z),
    "(n, 10, 1, 1)": lambda o, z: o.reshape(z, (-1, 10, 1, 1)),
    "(n, 1, 10)": lambda o, z: o.reshape(z, (-1, 1, 10)),
    "(n, 5, 2)": lambda o, z: o.reshape(z, (-1, 5, 2)),
    "tuple of one": lambda _, z: (z,),
    "list of one": lambda _, z: [z],
    "tuple with states": lambda o, z: (z, o.reshape(z, (-1, 2, 5))),
    "two heads": lambda _, z: (z[:, :6], z),
    "dict of logits": lambda _, z: {"logits": z},
    "dict of out": lambda _, z: {"out": z},
    "dict with logits and softmax": lambda o, z: {"probabilities": o.softmax(z), "logits": z},
    "dict of two heads": lambda _, z: {"main": z, "extra": z * 2},
    "dict with None": lambda o, z: {"loss": None, "scores": o.softmax(z)},
    "dataclass": lambda _, z: Answer(logits=z),
    "named tuple": lambda o, z: Pair(scores=o.softmax(z), hidden=None),
    "object": lambda _, z: SimpleNamespace(logits=z),
    "list of dicts": lambda _, z: [{"scores": each} for each in z[:2]],
}
TWO: Final[dict[str, Form]] = {
    "logit": lambda _, z: z,
    "logit (n,)": flat,
    "sigmoid": lambda o, z: o.sigmoid(z),
    "sigmoid (n,)": lambda o, z: flat(o, o.sigmoid(z)),
    "sigmoid by hand": lambda o, z: 1 / (1 + o.exp(-z)),
    "log sigmoid": lambda o, z: o.log(o.sigmoid(z)),
    "sigmoid in percent": lambda o, z: o.sigmoid(z) * 100,
    "1 - p, p": lambda o, z: both(o, o.sigmoid(z)),
    "0, z": lambda o, z: o.concat([z * 0, z]),
    "-z, z": lambda o, z: o.concat([-z / 2, z / 2]),
    "softmax of -z, z": lambda o, z: o.softmax(o.concat([-z / 2, z / 2])),
    "its second column": lambda o, z: o.softmax(o.concat([-z / 2, z / 2]))[:, 1],
    "tuple of sigmoid": lambda o, z: (o.sigmoid(z),),
    "dict of sigmoid": lambda o, z: {"probability": o.sigmoid(z)},
    "tanh": lambda o, z: o.tanh(z),
    "logit * 1e-4": lambda _, z: z * 1e-4,
    "logit * 1e4": lambda _, z: z * 1e4,
}


def show() -> None:
    """Print the forms that are off, and a count for each framework."""
    for framework, models in {"torch": on_torch, "keras": on_keras, "sklearn": on_numpy}.items():
        right = refused = 0
        for name, found, expected in measured(models, framework):
            refused += isinstance(found, str)
            fits = "output=" in found if isinstance(found, str) else abs(found - expected) <= POINT
            right += fits
            if not fits:
                print(f"{framework}: {name}: {found} in place of {expected:.3f}")
        total = len(TEN) + len(TWO)
        print(
            f"{framework}: {right} of {total} forms right, of which {refused} refused", flush=True
        )


def measured(
    models: Callable[[Any, Form], Any], framework: str
) -> Iterator[tuple[str, float | str, float]]:
    """Name, accuracy under attack or the refusal, and the plain net's accuracy, of each form."""
    for forms, data, eps in ((TEN, digits(), 0.06), (TWO, tumours(), 0.05)):
        net, x, y = data
        attack = Square(eps, queries=60) if framework == "sklearn" else PGD(eps, steps=15)
        expected = -1.0
        for name, form in forms.items():
            found: float | str
            try:
                report = evaluate_robustness(models(net, form), x, y, [attack], checks=False)
                found = report.worst.accuracy
            except UsageError as error:
                found = str(error)
            expected = found if expected < 0 and not isinstance(found, str) else expected
            yield name, found, expected


def digits() -> tuple[Any, Any, Any]:
    """A net of ten classes, and test samples."""
    data = load_digits()
    x, y = (data.data / 16).astype("float32"), data.target
    return trained(x[:1400], y[:1400], 10), x[1400:], y[1400:]


def tumours() -> tuple[Any, Any, Any]:
    """A net of one logit, and samples."""
    data = load_breast_cancer()
    x = ((data.data - data.data.min(0)) / np.ptp(data.data, axis=0)).astype("float32")
    return trained(x, data.target, 1), x, data.target


def trained(x: Any, y: Any, width: int) -> Any:
    """Weights of two layers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(x.shape[1], 48), nn.ReLU(), nn.Linear(48, width))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    for _ in range(120):
        optimizer.zero_grad()
        scores = net(inputs)
        if width == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], labels.float())
        else:
            loss = nn.functional.cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
    return net.eval()


class OnTorch(nn.Module):
    """A net whose answer has a form."""

    operations = SimpleNamespace(
        softmax=lambda z: nn.functional.softmax(z, 1), exp=torch.exp, log=torch.log,
        log_softmax=lambda z: z.log_softmax(1), sigmoid=torch.sigmoid, tanh=torch.tanh,
        reshape=torch.reshape, concat=lambda parts: torch.cat(parts, 1),
    )  # fmt: skip

    def __init__(self, net: Any, form: Form) -> None:
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x: Any) -> Any:
        """The net's answer."""
        return self.form(self.operations, self.net(x))


def on_torch(net: Any, form: Form) -> Any:
    """The net behind a form, as a torch module."""
    return OnTorch(net, form)


def on_keras(net: Any, form: Form) -> Any:
    """The net behind a form, as a Keras model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras  # noqa: PLC0415 - after the setting above

    o = keras.ops
    operations = SimpleNamespace(
        softmax=o.softmax, exp=o.exp, log=o.log, log_softmax=o.log_softmax, sigmoid=o.sigmoid,
        tanh=o.tanh, reshape=o.reshape, concat=lambda parts: o.concatenate(parts, 1),
    )  # fmt: skip

    class OnKeras(keras.Model):  # type: ignore[misc, unused-ignore] # of no type
        def __init__(self) -> None:
            super().__init__()
            self.hidden = keras.layers.Dense(48, activation="relu")
            self.last = keras.layers.Dense(net[2].out_features)

        def call(self, x: Any, training: Any = None) -> Any:  # noqa: ARG002 - Keras' own signature
            """The net's answer."""
            return form(operations, self.last(self.hidden(x)))

    model = OnKeras()
    model.hidden.build((None, net[0].in_features))
    model.last.build((None, 48))
    for layer, source in ((model.hidden, net[0]), (model.last, net[2])):
        layer.set_weights([source.weight.detach().numpy().T, source.bias.detach().numpy()])
    return model


class OnNumpy(BaseEstimator):  # type: ignore[misc, unused-ignore] # of no type
    """A classifier whose probabilities have a form."""

    operations = SimpleNamespace(
        softmax=lambda z: np.exp(z - z.max(1, keepdims=True))
        / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True),
        log_softmax=lambda z: z - z.max(1, keepdims=True)
        - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)),
        sigmoid=lambda z: 1 / (1 + np.exp(-z)), exp=np.exp, log=np.log, tanh=np.tanh,
        reshape=np.reshape, concat=lambda parts: np.concatenate(parts, 1),
    )  # fmt: skip

    def __init__(self, net: Any = None, form: Any = None) -> None:
        self.net, self.form = net, form

    def predict_proba(self, x: Any) -> Any:
        """The net's answer."""
        with torch.no_grad():
            scores = self.net(torch.tensor(np.asarray(x, "float32"))).double().numpy()
        return self.form(self.operations, scores)


def on_numpy(net: Any, form: Form) -> Any:
    """The net behind a form, as a scikit-learn classifier."""
    return OnNumpy(net, form)
