"""Models that look robust and are not, and an attack that lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlsecops.adapters.base import Adapter, Array, Labels


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def matmul(rows: Array, matrix: Array) -> Array:
    """A product whose rounding of a row does not depend on the other rows, as that of BLAS does."""
    return np.einsum("nd,dk->nk", rows, matrix)


@dataclass
class SoftmaxRegression:
    """Linear scores with exact gradients in float32: attacks on it have answers on paper."""

    weights: Any
    bias: Any
    framework: str = "numpy"
    model: Any = "softmax-regression"
    channels_first: bool = False
    differentiable: bool = True

    def logits(self, x: Array) -> Array:
        flat = x.reshape(len(x), -1).astype(np.float32)
        return (matmul(flat, self.weights) + self.bias).astype(np.float32)

    def predict(self, x: Array) -> Array:
        return softmax(self.logits(x))

    def features(self, x: Array) -> Array:
        return x.reshape(len(x), -1)

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        logits = self.logits(x)
        error = softmax(logits) - np.eye(logits.shape[1], dtype=np.float32)[y]
        return logits, matmul(error, self.weights.T).reshape(x.shape).astype(np.float32)

    def pullback(self, x: Array, cotangent: Callable[[Array], Array]) -> tuple[Array, Array]:
        logits = self.logits(x)
        along = cotangent(logits).astype(np.float32)
        return logits, matmul(along, self.weights.T).reshape(x.shape).astype(np.float32)


@dataclass
class Disguised:
    """An Adapter around another, whose scores or gradients are tampered with."""

    inner: Adapter
    on_input: Callable[[Array], Array] = lambda x: x
    on_scores: Callable[[Array], Array] = lambda scores: scores
    on_gradient: Callable[[Array, Array], Array] = lambda _, gradient: gradient
    framework: str = "numpy"
    model: Any = "disguised"
    channels_first: bool = False
    differentiable: bool = True
    seen: list[int] = field(default_factory=list)

    def logits(self, x: Array) -> Array:
        self.seen.append(len(x))
        return self.on_scores(self.inner.logits(self.on_input(x)))

    def predict(self, x: Array) -> Array:
        return softmax(self.logits(x))

    def features(self, x: Array) -> Array:
        return self.inner.features(self.on_input(x))

    def loss_gradient(self, x: Array, y: Labels) -> tuple[Array, Array]:
        self.seen.append(len(x))
        logits, gradient = self.inner.loss_gradient(self.on_input(x), y)
        return self.on_scores(logits), self.on_gradient(x, gradient)

    def pullback(self, x: Array, cotangent: Callable[[Array], Array]) -> tuple[Array, Array]:
        self.seen.append(len(x))
        shown: list[Array] = []

        def behind(scores: Array) -> Array:
            shown.append(self.on_scores(scores))
            return cotangent(shown[0])

        inner: Any = self.inner
        _, gradient = inner.pullback(self.on_input(x), behind)
        return shown[0], self.on_gradient(x, gradient)


def with_zero_gradients(model: Adapter) -> Disguised:
    return Disguised(model, on_gradient=lambda _, gradient: np.zeros_like(gradient))


def with_gradients_blind_at_the_bounds(model: Adapter) -> Disguised:
    """As a strict clamp in the graph does: no gradient for an element that lies on a bound."""
    return Disguised(
        model, on_gradient=lambda x, gradient: gradient * ((x > 0) & (x < 1)).astype(np.float32)
    )


def with_unrelated_gradients(model: Adapter) -> Disguised:
    rng = np.random.default_rng(9)
    return Disguised(
        model,
        on_gradient=lambda _, gradient: rng.standard_normal(gradient.shape).astype(np.float32),
    )


def with_random_scores(model: Adapter, *, noise: float) -> Disguised:
    rng = np.random.default_rng(9)
    return Disguised(
        model,
        on_scores=lambda scores: (scores + noise * rng.standard_normal(scores.shape)).astype(
            np.float32
        ),
    )


def with_nan_scores(model: Adapter) -> Disguised:
    return Disguised(model, on_scores=lambda scores: np.full_like(scores, np.nan))


@dataclass
class AttackOutsideItsBall:
    """Claims an eps that its examples do not keep."""

    eps: float = 0.01
    name: str = "liar"
    norm: str = "linf"
    params: dict[str, Any] = field(default_factory=dict)

    def perturb(self, _adapter: Adapter, x: Array, _y: Labels, **_options: object) -> Array:
        return np.clip(x + 0.5, 0, 1).astype(np.float32)


class TorchDisguise:
    """Broken torch classifiers, by name, around a net that takes ``(n, d)`` inputs."""

    names = ("clamp", "scaled", "zero", "random")

    @staticmethod
    def build(name: str, net: Any) -> Any:
        import torch  # noqa: PLC0415 - only these tests need it

        class Broken(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, x: Any) -> Any:
                if name == "clamp":  # a step of 1/8 with no gradient inside each stair
                    return self.net(torch.clamp((x - 0.25) * 2, 0, 1))
                if name == "scaled":
                    return self.net(x) * 1000
                if name == "zero":
                    return self.net(torch.round(x * 8) / 8)
                return self.net(x + 0.3 * torch.randn_like(x))

        return Broken()
