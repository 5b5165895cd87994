from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.robustness import PGD, evaluate_robustness, harden
from tests.attackers.poisoning import digits
from tests.attackers.robustness import SoftmaxRegression

EPS = 0.1
FINDS = PGD(EPS, steps=4, until="end")
MEASURES = [PGD(EPS, steps=10)]


@pytest.fixture(scope="module")
def split() -> Any:
    x, y = digits()
    x = x.reshape(len(x), -1).astype(np.float32)
    return (x[:700], y[:700]), (x[700:1000], y[700:1000])


def torch_model(*, ends: Any = None) -> Any:
    import torch  # noqa: PLC0415 - the tests of other models need none

    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)]
    return torch.nn.Sequential(*layers, *([ends(dim=1)] if ends else []))


def keras_model(activation: str | None = None) -> Any:
    import keras  # noqa: PLC0415 - as above

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation=activation),
        ]
    )


def robust(model: Any, data: Any) -> Any:
    return evaluate_robustness(model, *data, MEASURES, checks=False)


@pytest.mark.parametrize("build", [torch_model, lambda: keras_model("softmax")])
def test_hardening_raises_what_stands_on_other_samples(build: Any, split: Any) -> None:
    """Clean training first, with the same call and a ball of almost no size."""
    model = build()
    train, test = split
    harden(model, *train, PGD(1e-6, steps=1), epochs=4, learning_rate=1e-2)
    before = robust(model, test)
    hardening = harden(model, *train, FINDS, epochs=4, learning_rate=1e-2)
    after = robust(model, test)
    assert before.clean.accuracy > 0.85
    assert after.clean.accuracy > 0.8
    assert after.worst.interval.low > before.worst.interval.high
    assert hardening.losses[-1] < hardening.losses[0]
    assert hardening.attack == "pgd"


def test_a_module_that_gives_probabilities_is_trained_by_them(split: Any) -> None:
    import torch  # noqa: PLC0415 - as above

    model = torch_model(ends=torch.nn.Softmax)
    harden(model, *split[0], PGD(1e-6, steps=1), epochs=3, learning_rate=1e-2)
    assert robust(model, split[1]).clean.accuracy > 0.85


def test_only_what_was_trainable_moves_and_the_mode_stays(split: Any) -> None:
    model = torch_model().eval()
    model[0].requires_grad_(requires_grad=False)
    frozen, free = (model[i].weight.detach().clone() for i in (0, 2))
    x, y = split[0]
    harden(model, x[:100], y[:100], FINDS, epochs=1)
    assert (model[0].weight == frozen).all()
    assert (model[2].weight != free).any()
    assert not model.training
    assert all(each.grad is None for each in model.parameters())


def test_the_callers_own_compilation_of_a_keras_model_stays(split: Any) -> None:
    model = keras_model()
    model.compile(optimizer="sgd", loss="mse")
    optimizer = model.optimizer
    x, y = split[0]
    harden(model, x[:100], y[:100], PGD(EPS, steps=1), epochs=1)
    assert model.optimizer is optimizer
    assert model.loss == "mse"


def test_the_same_seed_trains_the_same_model(split: Any) -> None:
    x, y = split[0]
    losses = [
        harden(torch_model(), x[:200], y[:200], FINDS, epochs=2, seed=seed).losses
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(epochs=0), "epochs"),
        (lambda a: a.update(batch_size=0), "batch_size"),
        (lambda a: a.update(learning_rate=0), "rate"),
        (lambda a: a.update(seed=-1), "seed"),
        (lambda a: a.update(progress=3), "progress"),
        (lambda a: a.update(attack="fgsm"), "attack"),
        (lambda a: a.update(y=a["y"][:-1]), "of n labels"),
        (lambda a: a.update(y=a["y"].astype(float)), "integers"),
    ],
)
def test_what_cannot_be_trained_is_wrong_use(split: Any, change: Any, message: str) -> None:
    x, y = split[0]
    arguments = {"attack": FINDS, "x": x[:20], "y": y[:20]}
    change(arguments)
    with pytest.raises(UsageError, match=message):
        harden(torch_model(), **arguments)


def test_a_model_that_cannot_learn_or_gives_no_scores_is_wrong_use(
    split: Any, two_class: SoftmaxRegression
) -> None:
    import torch  # noqa: PLC0415 - as above

    x, y = split[0][0][:20], split[0][1][:20]
    with pytest.raises(UsageError, match="cannot train a numpy model"):
        harden(two_class, x, y, FINDS)
    squares = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Unflatten(1, (8, 8)))
    with pytest.raises(UsageError, match=r"expected shape \(n, k\)"):
        harden(squares, x, y % 2, FINDS)
