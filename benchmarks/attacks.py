"""Time and strength of attacks, compared with ART, torchattacks and auto-attack, on Fashion-MNIST.

Two nets, with standard and with adversarial training (`benchmarks/fashion.py`), one thread, CPU
seconds. Every contestant measures the accuracy of the same images under Linf 0.1; ours is
`evaluate_robustness` with its checks off. auto-attack is the package `pyautoattack`, a port of
its authors' code without changes to the attacks. `broken` shows whether broken models pass, `masks`
whether masked small nets do (`benchmarks/masks.py`), and `forms` the figures of each form of output
(`benchmarks/forms.py`).

`make peers` installs the peers; missing ones are skipped.

Run: `python -m benchmarks.attacks [--part pgd|tensorflow|standard|broken|masks|forms …]`
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier

from benchmarks import fashion, forms, masks
from benchmarks.measure import Comparison, compare, table
from mlsecops import PGD, Gate, adapt, evaluate_robustness
from mlsecops.robustness import suite

EPS: Final = fashion.EPS
STEPS: Final = 40
WIDE: Final = 0.13  # radius; about three in five images of the robust net stay correct
BATCH: Final = 250
PEERS: Final = Path(__file__).parent / ".env-attacks"
KINDS: Final = ("standard", "robust")
PARTS: Final = ("pgd", "tensorflow", "standard", "broken", "masks", "forms")


def main() -> None:
    """Run the chosen parts and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--count", type=int, help="images (default: 1000; 200 for standard)")
    parser.add_argument("--first", type=int, default=0, help="the first of them in the test set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--suite", action="append", choices=tuple(masks.SUITES))
    parser.add_argument("--seed", action="append", type=int, help="of nets behind masks: 0, 1, 2")
    parser.add_argument("--mask", action="append", help="a name of benchmarks/masks.py")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.append(str(PEERS))
    for part in options.part or PARTS:
        if part == "masks":
            masks.show(options.suite or masks.SUITES, options.seed or range(3), options.mask)
            continue
        if part == "forms":
            forms.show()
            continue
        run = {"pgd": pgd, "tensorflow": tensorflow, "standard": standard}.get(part)
        count = options.count or {"standard": 200, "broken": 500}.get(part, 1000)
        x, y = sample(count, options.first)
        if run is None:
            broken(x, y)
            continue
        found = list(run(x, y, options.rounds))
        print(table(comparison for comparison, _ in found))
        for comparison, accuracies in found:
            print(f"{comparison.what}: robust accuracy {accuracies}")
        print(flush=True)


Found = Iterator[tuple[Comparison, dict[str, float]]]


def pgd(x: Any, y: Any, rounds: int) -> Found:
    """PGD-40 on torch."""
    for kind, eps in (("standard", EPS), ("robust", EPS), ("robust", WIDE)):
        net = fashion.net(kind)
        contestants = {
            "mlsecops": ours(net, x, y, [PGD(eps, steps=STEPS)]),
            "ART": art_on(torch_estimator(net), lambda z, n=net: answers(n, z), x, y, eps=eps),
        }
        if (PEERS / "torchattacks").exists():
            contestants["torchattacks"] = torchattacks_on(net, x, y, eps=eps)
        yield timed(f"PGD-{STEPS} at {eps:g}, {kind} net", contestants, rounds)


def tensorflow(x: Any, y: Any, rounds: int) -> Found:
    """PGD-40 on TensorFlow, channels last, with the same weights."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf  # noqa: PLC0415 - only where it is measured
    from art.estimators.classification import TensorFlowV2Classifier  # noqa: PLC0415 - as above

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for kind in KINDS:
        net = fashion.keras_twin(fashion.net(kind))
        view = adapt(net)
        contestants = {"mlsecops": ours(net, x, y, [PGD(EPS, steps=STEPS)])}
        for name, model in {"ART": net, "ART, tf.function": tf.function(net)}.items():
            estimator = TensorFlowV2Classifier(
                model=model, nb_classes=10, input_shape=(28, 28, 1), clip_values=(0, 1),
                loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )  # fmt: skip
            answer = functools.partial(lambda v, z: v.logits(z).argmax(axis=1), view)
            contestants[name] = art_on(estimator, answer, x, y)
        yield timed(f"PGD-{STEPS}, {kind} net, TensorFlow", contestants, rounds)


def standard(x: Any, y: Any, _: int) -> Found:
    """The profile `standard`, compared with auto-attack's."""
    net = fashion.net("robust")
    contestants = {"mlsecops": ours(net, x, y, suite("standard", eps=EPS))}
    if (PEERS / "pyautoattack").exists():
        contestants["auto-attack"] = auto_attack_on(net, x, y)
    yield timed("standard, robust net", contestants, 1, warm=False)


def broken(x: Any, y: Any) -> None:
    """Four models with masked gradients, and whether they pass a gate that the honest net fails."""
    net = fashion.net("standard")
    for name, model in {"honest": net, **broken_models(net)}.items():
        report = evaluate_robustness(model, x, y, suite("standard", eps=EPS))
        judged = Gate(min_accuracy=0.5).judge(report)
        failed = [check.name for check in report.checks if check.outcome == "fail"]
        print(f"{name:12} {report.worst.accuracy:.3f} gate at 0.5: {judged.verdict:12} {failed}")


def broken_models(net: Any) -> dict[str, Any]:
    """Clamped, scaled, rounded and randomized."""

    class Broken(torch.nn.Module):
        def __init__(self, call: Callable[[Any], Any]) -> None:
            super().__init__()
            self.net, self.call = net, call

        def forward(self, x: Any) -> Any:
            return self.call(x)

    return {
        "clamp": Broken(lambda x: net(((x - 0.3) * 50).clamp(0, 1))),
        "scaled": Broken(lambda x: net(x) * 1000),
        "zero": Broken(lambda x: net(torch.round(x * 5) / 5)),
        "randomised": Broken(lambda x: net((x + 0.25 * torch.randn_like(x)).clamp(0, 1))),
    }


def sample(count: int, first: int) -> tuple[Any, Any]:
    """Some test images."""
    x, y = fashion.images("t10k")
    return x[first : first + count], y[first : first + count]


def timed(
    what: str, contestants: dict[str, Callable[[], float]], rounds: int, *, warm: bool = True
) -> tuple[Comparison, dict[str, float]]:
    """CPU seconds of contestants in turns, and the accuracy that each measured."""
    accuracies: dict[str, float] = {}

    def recorded(name: str) -> Callable[[], None]:
        def run() -> None:
            accuracies[name] = round(contestants[name](), 4)

        return run

    comparison = compare(
        what,
        {name: recorded(name) for name in contestants},
        ours="mlsecops",
        rounds=rounds,
        clock=time.process_time,
        warm=warm,
    )
    return comparison, accuracies


def ours(net: Any, x: Any, y: Any, attacks: Any) -> Callable[[], float]:
    view = adapt(net)
    return lambda: (
        evaluate_robustness(view, x, y, attacks, checks=False, batch_size=BATCH).worst.accuracy
    )


def torch_estimator(net: Any) -> PyTorchClassifier:
    return PyTorchClassifier(
        model=net, loss=torch.nn.CrossEntropyLoss(), input_shape=(1, 28, 28), nb_classes=10,
        clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip


def art_on(
    estimator: Any, answer: Callable[[Any], Any], x: Any, y: Any, *, eps: float = EPS
) -> Callable[[], float]:
    attack = ProjectedGradientDescent(
        estimator, eps=eps, eps_step=2.5 * eps / STEPS, max_iter=STEPS, num_random_init=1,
        batch_size=BATCH, verbose=False,
    )  # fmt: skip

    def run() -> float:
        examples = attack.generate(x, y)
        return float(((answer(examples) == y) & (answer(x) == y)).mean())

    return run


def torchattacks_on(net: Any, x: Any, y: Any, *, eps: float) -> Callable[[], float]:
    import torchattacks  # noqa: PLC0415 - of another folder

    attack = torchattacks.PGD(net, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=True)
    labels = torch.from_numpy(y)

    def run() -> float:
        parts = [
            attack(torch.from_numpy(x[i : i + BATCH]), labels[i : i + BATCH])
            for i in range(0, len(x), BATCH)
        ]
        right = answers(net, torch.cat(parts).numpy()) == y
        return float((right & (answers(net, x) == y)).mean())

    return run


def auto_attack_on(net: Any, x: Any, y: Any) -> Callable[[], float]:
    from pyautoattack import AutoAttack  # noqa: PLC0415 - of another folder

    def run() -> float:
        attack = AutoAttack(net, norm="Linf", eps=EPS, version="standard", seed=0)
        attack.verbose = False
        examples = attack.run_standard_evaluation(
            torch.from_numpy(x), torch.from_numpy(y), batch_size=BATCH
        )
        examples = examples[0] if isinstance(examples, tuple) else examples
        return float((answers(net, examples.numpy()) == y).mean())

    return run


def answers(net: Any, x: Any) -> Any:
    """The net's classes."""
    with torch.no_grad():
        return net(torch.from_numpy(x)).argmax(1).numpy()


if __name__ == "__main__":
    main()
