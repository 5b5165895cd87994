"""What to do when a gate fails: train the model on the attack's own examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops.adapters.training import trainer
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Progress
    from mlsecops.robustness.attacks.gradient import Attack

__all__ = ["Hardening", "harden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """What adversarial training did.

    Attributes:
        attack: Name of the attack whose examples it saw.
        losses: Mean cross-entropy on the batches of each epoch, in nats.
    """

    attack: str
    losses: tuple[float, ...]


def harden(
    model: Any,
    x: Any,
    y: Any,
    attack: Attack,
    *,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    clean: bool = True,
    seed: int = 0,
    bounds: Bounds = (0, 1),
    progress: Progress | None = None,
) -> Hardening:
    """Train a model in place on examples that the attack finds against it as it is by then.

    Train on other samples than those that the gate measures. The figures of the hardened model are
    measured anew: this promises none.

    Args:
        model: A torch module or Keras model; it is changed.
        x: Inputs `(n, *shape)`, inside `bounds`.
        y: True labels `(n,)`, integers.
        attack: Finds the examples; `PGD(eps, steps=7, until="end")` is usual.
        epochs: Passes over the data.
        batch_size: Samples per step.
        learning_rate: Adam's step.
        clean: Whether each step sees the clean inputs beside the examples, which costs some
            robustness and keeps clean accuracy.
        seed: Seed of the order and the attack; the framework's own randomness (dropout) is the
            caller's.
        bounds: Smallest and largest value of an input.
        progress: Called with (samples seen, samples to see over all epochs).

    Raises:
        UsageError: The data or an option cannot be used, or the model cannot be trained.

    Source:
        Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018); mixing
        in clean inputs: Goodfellow, Shlens and Szegedy (2015).
    """
    inputs, labels = np.asarray(x, dtype=np.float32), np.asarray(y)
    if not len(inputs) or labels.shape != (len(inputs),) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"expected x of shape (n, *shape), n >= 1, and y of n integers; got {inputs.shape} and "
            f"{labels.shape} of {labels.dtype}"
        )
    if epochs < 1 or batch_size < 1:
        raise UsageError(f"expected epochs and batch_size >= 1, got {epochs} and {batch_size}")
    labels = labels.astype(np.int64)
    steps = trainer(model, learning_rate=learning_rate)
    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 5, epoch]).permutation(len(inputs))
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            asked, answers = inputs[rows], labels[rows]
            examples = attack.perturb(
                steps.adapter, asked, answers, seed=seed + epoch, bounds=bounds, index=rows
            )
            if clean:
                examples = np.concatenate([asked, examples])
                answers = np.concatenate([answers, answers])
            total += steps.step(examples, answers) * len(rows)
            if progress is not None:
                progress(epoch * len(order) + start + len(rows), epochs * len(order))
        losses.append(total / len(order))
    return Hardening(attack=attack.name, losses=tuple(losses))
