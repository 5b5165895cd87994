import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.integrations.art import estimator

pytest.importorskip("art")
torch = pytest.importorskip("torch")

CLASSES = 4


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
    ).eval()


@pytest.fixture(scope="module")
def x() -> Any:
    return np.random.default_rng(0).random((20, 6), dtype=np.float32)


@pytest.fixture(scope="module")
def made(net: Any) -> Any:
    return estimator(net, input_shape=(6,), classes=CLASSES)


def attacks(made: Any) -> Any:
    from art.attacks import evasion  # noqa: PLC0415 - seconds to import

    quiet = {"verbose": False}
    return {
        "fgsm": evasion.FastGradientMethod(made, eps=0.4),
        "pgd": evasion.ProjectedGradientDescent(made, eps=0.4, eps_step=0.1, max_iter=5, **quiet),
        "apgd": evasion.AutoProjectedGradientDescent(
            made, eps=0.4, eps_step=0.2, max_iter=5, nb_random_init=1, **quiet
        ),
        "deepfool": evasion.DeepFool(made, max_iter=20, nb_grads=CLASSES, **quiet),
        "carlini-l2": evasion.CarliniL2Method(made, max_iter=5, **quiet),
        "hopskipjump": evasion.HopSkipJump(
            made, max_iter=2, max_eval=50, init_eval=10, **quiet
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "deepfool", "carlini-l2", "hopskipjump"])
def test_the_toolboxs_attacks_change_answers(name: Any, made: Any, net: Any, x: Any) -> None:
    np.random.seed(0)  # noqa: NPY002 - the toolbox draws from the global generator
    before = adapt(net).predict(x).argmax(axis=1)
    found = attacks(made)[name].generate(x[:6])
    assert found.shape == (6, 6)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (adapt(net).predict(found).argmax(axis=1) != before[:6]).any()


def test_class_gradients_are_those_of_the_log_probabilities(made: Any, net: Any, x: Any) -> None:
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    scores = torch.log_softmax(net(leaf), dim=1)
    every = made.class_gradient(x)
    assert every.shape == (20, CLASSES, 6)
    for label in range(CLASSES):
        (true,) = torch.autograd.grad(scores[:, label].sum(), leaf, retain_graph=True)
        np.testing.assert_allclose(every[:, label], true, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(made.class_gradient(x, label)[:, 0], true, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made.predict(x), scores.detach(), rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_cross_entropy(made: Any, net: Any, x: Any) -> None:
    y = np.arange(20) % CLASSES
    true = torch.nn.functional.cross_entropy(
        net(torch.from_numpy(x)), torch.from_numpy(y), reduction="none"
    )
    np.testing.assert_allclose(made.compute_loss(x, y), true.detach(), rtol=1e-4)
    one_hot = np.eye(CLASSES)[y]
    np.testing.assert_allclose(made.loss_gradient(x, one_hot), made.loss_gradient(x, y))
    mean = float(true.detach().mean())
    assert made.compute_loss(x, y, reduction="mean") == pytest.approx(mean, rel=1e-4)
    np.testing.assert_allclose(made.get_activations(x, 0), adapt(net).features(x))


def test_a_model_without_gradients_takes_black_box_attacks_only(x: Any) -> None:
    from art.attacks.evasion import FastGradientMethod, HopSkipJump  # noqa: PLC0415 - as above
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - only here

    y = (x[:, 0] > 0.5).astype(int)
    tree = DecisionTreeClassifier(random_state=0).fit(x, y)
    made = estimator(tree, input_shape=(6,), classes=2)
    np.random.seed(0)  # noqa: NPY002 - as above
    found = HopSkipJump(made, max_iter=2, max_eval=50, init_eval=10, verbose=False).generate(x[:4])
    assert (tree.predict(found) != y[:4]).any()
    with pytest.raises(Exception, match="LossGradients"):
        FastGradientMethod(made)


def test_an_estimator_is_neither_trained_nor_of_one_class(made: Any, net: Any, x: Any) -> None:
    with pytest.raises(UsageError, match="cannot be trained"):
        made.fit(x, np.zeros(20))
    with pytest.raises(UsageError, match="at least 2"):
        estimator(net, input_shape=(6,), classes=1)


def test_the_toolbox_is_imported_only_when_an_estimator_is_made() -> None:
    code = "import sys, mlsecops.integrations.art as a; assert 'art' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
