"""Every evasion attack of the Adversarial Robustness Toolbox through the bridge, tried once.

A small convolutional net on scikit-learn's digits, 12 images, the fewest steps that show anything.
An attack works if an example inside its ball is misclassified; else the reason stands beside it.

Run: `python -m benchmarks.art_evasion [NAME …]`
"""

from __future__ import annotations

import inspect
import signal
import sys
import warnings
from collections import Counter
from typing import Any, Final

import numpy as np
import torch
from art.attacks import evasion
from art.attacks.attack import EvasionAttack
from sklearn.datasets import load_digits
from torch import nn

from mlsecops import evaluate_robustness
from mlsecops.errors import UsageError
from mlsecops.integrations.art_attacks import ArtAttack

EPS: Final = 0.4  # Linf, pixels from 0 to 1: large, since the question is whether anything runs
EPS_L2: Final = 3.0
SECONDS: Final = 60
FEW: Final[dict[str, dict[str, Any]]] = {
    "AutoAttack": {"eps_step": 0.1}, "AutoConjugateGradient": {"max_iter": 10, "eps_step": 0.1},
    "AutoProjectedGradientDescent": {"max_iter": 10, "eps_step": 0.1},
    "RescalingAutoConjugateGradient": {"max_iter": 10, "eps_step": 0.1},
    "BoundaryAttack": {"max_iter": 100}, "CarliniL0Method": {"max_iter": 5},
    "CarliniL2Method": {"max_iter": 10},
    "CarliniLInfMethod": {"max_iter": 20, "largest_const": 2.0},
    "DeepFool": {"max_iter": 20}, "ElasticNet": {"max_iter": 10},
    "FeatureAdversariesNumpy": {"delta": 0.3, "layer": 0}, "GeoDA": {"max_iter": 400, "sub_dim": 5},
    "HopSkipJump": {"max_iter": 4, "max_eval": 200}, "NewtonFool": {"max_iter": 20},
    "PixelAttack": {"th": 20, "max_iter": 5, "es": 1}, "SaliencyMapMethod": {"theta": 0.3},
    "SignOPTAttack": {"max_iter": 10, "query_limit": 500},
    "SimBA": {"max_iter": 300, "epsilon": 0.3},
    "SpatialTransformation": {"max_translation": 20, "num_translations": 3},
    "SquareAttack": {"max_iter": 200}, "ThresholdAttack": {"th": 100, "max_iter": 5, "es": 1},
    "UniversalPerturbation": {"attacker": "fgsm", "max_iter": 3, "eps": EPS},
    "TargetedUniversalPerturbation": {"attacker": "fgsm", "max_iter": 3},
    "VirtualAdversarialMethod": {"eps": 1.5, "max_iter": 3, "finite_diff": 0.01},
    "Wasserstein": {"max_iter": 5, "eps": 1.0, "kernel_size": 3, "norm": "2", "ball": "2"},
    "ZooAttack": {"max_iter": 60, "use_resize": False, "use_importance": False, "nb_parallel": 16},
    "ShadowAttack": {"nb_steps": 20}, "LowProFool": {"n_steps": 10},
}  # fmt: skip
LINF: Final = {
    "AutoAttack", "AutoConjugateGradient", "AutoProjectedGradientDescent", "BasicIterativeMethod",
    "CarliniLInfMethod", "FastGradientMethod", "MomentumIterativeMethod", "SquareAttack",
    "ProjectedGradientDescent", "ProjectedGradientDescentNumpy", "RescalingAutoConjugateGradient",
    "FeatureAdversariesNumpy", "UniversalPerturbation", "ThresholdAttack", "PixelAttack",
}  # fmt: skip


class TooLong(BaseException):
    """An attack took more than its time."""


def start(names: list[str]) -> None:
    """Try the named attacks, or all, and print a table."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    net, x, y = trained()
    outcomes: Counter[str] = Counter()
    for name in names or every():
        outcome, reason = tried(name, net, x, y)
        outcomes[outcome] += 1
        print(f"| `{name}` | {outcome} | {reason} |", flush=True)
    print(dict(outcomes))


def every() -> list[str]:
    """Names of ART's evasion attacks."""
    found = ((name, getattr(evasion, name)) for name in dir(evasion))
    return [
        name for name, kind in found if inspect.isclass(kind) and issubclass(kind, EvasionAttack)
    ]


def tried(name: str, net: Any, x: Any, y: Any) -> tuple[str, str]:
    """Outcome of one attack, and its figure or the reason."""
    norm, eps = ("linf", EPS) if name in LINF else ("l2", EPS_L2)
    attack = ArtAttack(name, eps, norm=norm, settings=FEW.get(name, {}))  # type: ignore[arg-type]

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        report = evaluate_robustness(net, x, y, [attack], checks=False)
    except TooLong:
        return "too slow", f"more than {SECONDS} s"
    except UsageError as error:
        return "refused", " ".join(str(error).removeprefix(f"art-{name}: ").split())[:120]
    except Exception as error:  # noqa: BLE001 - what the table is for
        return "error", f"{type(error).__name__}: {error}"[:120]
    finally:
        signal.alarm(0)
    fooled = report.clean.hits - report.worst.hits
    return (
        "works" if fooled else "finds nothing"
    ), f"{fooled} of {report.clean.hits} ({norm} {eps:g})"


def trained() -> tuple[Any, Any, Any]:
    """A net, and images that it was not trained on."""
    data = load_digits()
    x, y = (data.images[:, None] / 16).astype("float32"), data.target
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        scores = net(torch.tensor(x[:1400]))
        nn.functional.cross_entropy(scores, torch.tensor(y[:1400])).backward()
        optimizer.step()
    return net.eval(), np.ascontiguousarray(x[1400:1412]), y[1400:1412]


if __name__ == "__main__":
    start(sys.argv[1:])
