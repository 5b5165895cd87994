from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.integrations.art_attacks import ArtAttack
from mlsecops.robustness import PGD, Attack, evaluate_robustness

pytest.importorskip("art")
torch = pytest.importorskip("torch")

EPS = 0.15
SOME = [
    ArtAttack("FastGradientMethod", EPS),
    ArtAttack("ProjectedGradientDescent", EPS, settings={"eps_step": 0.04, "max_iter": 8}),
    ArtAttack("AutoProjectedGradientDescent", EPS, settings={"eps_step": 0.1, "max_iter": 8}),
    ArtAttack("ProjectedGradientDescent", 0.4, norm="l2", settings={"max_iter": 8}),
    ArtAttack("DeepFool", 0.4, norm="l2", settings={"max_iter": 10, "nb_grads": 3}),
]


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


@pytest.fixture(scope="module")
def data(net: Any) -> Any:
    x = np.random.default_rng(0).random((60, 6), dtype=np.float32)
    return x, adapt(net).logits(x).argmax(axis=1)


@pytest.mark.parametrize("attack", SOME, ids=lambda a: f"{a.kind}-{a.norm}")
def test_the_toolboxs_figure_stands_beside_ours(attack: Any, net: Any, data: Any) -> None:
    assert isinstance(attack, Attack)
    report = evaluate_robustness(net, *data, [attack, PGD(EPS, steps=10)], checks=False)
    figure = report.attacks[attack.name]
    assert 0 < figure.hits < 60
    assert figure.params["eps"] == attack.eps


def test_global_generator_is_given_back_and_the_seed_decides(net: Any, data: Any) -> None:
    attack = ArtAttack(
        "ProjectedGradientDescent", EPS, settings={"max_iter": 2, "num_random_init": 1}
    )
    np.random.seed(5)  # noqa: NPY002 - the generator in question
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - as above
    one, two, other = (
        evaluate_robustness(net, *data, [attack], checks=False, seed=s).worst.examples
        for s in (1, 1, 2)
    )
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002 - as above
    assert (one == two).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    "attack",
    [
        ArtAttack("NoSuchAttack", EPS),
        ArtAttack("ProjectedGradientDescent", EPS, settings={"max_iter": -1}),
        ArtAttack("ProjectedGradientDescent", EPS, settings={"colour": "red"}),
    ],
)
def test_attacks_that_the_toolbox_refuses_are_refused(attack: Any, net: Any, data: Any) -> None:
    with pytest.raises(UsageError):
        evaluate_robustness(net, *data, [attack], checks=False)


def test_gradient_attack_on_a_model_without_gradients_is_refused(data: Any) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LogisticRegression().fit(*data)
    with pytest.raises(UsageError, match="needs gradients"):
        evaluate_robustness(model, *data, [SOME[0]], checks=False)
