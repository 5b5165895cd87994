"""Adversarial training: the model is trained on the attack's examples.

model, samples, attack → examples against the current model → training step → `Hardening`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsecops._choices import checked, of_type, whole
from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.class_names import label_columns
from mlsecops.adapters.training import trainer
from mlsecops.robustness.attacks.base import require_samples

if TYPE_CHECKING:
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack, Progress


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """Record of an adversarial training.

    Attributes:
        attack: Name of the attack that made the examples.
        losses: Mean cross-entropy on the batches of each epoch, in nats.
    """

    attack: str
    losses: tuple[float, ...]


@checked
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
    """Train a model in place on examples that the attack finds against its current state.

    Use other samples than those that the gate measures, and evaluate the hardened model again:
    training guarantees no accuracy.

    Args:
        model: A torch module or Keras model; it is changed.
        x: Inputs `(n, *shape)`, inside `bounds`.
        y: True labels `(n,)`, integers.
        attack: Attack that makes the examples; `PGD(eps, steps=7, until="end")` is usual.
        epochs: Passes over the data.
        batch_size: Samples per step.
        learning_rate: Adam's learning rate, above 0.
        clean: Whether each step also trains on the clean inputs, for more clean accuracy.
        seed: Seed of the order and the attack; the caller seeds the framework (dropout).
        bounds: Smallest and largest value of an input.
        progress: Called with (samples trained on, samples over all epochs).

    Raises:
        UsageError: The data or an option cannot be used, or the model cannot be trained.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018),
    section 2.1; mixing in clean inputs: Goodfellow, Shlens and Szegedy (2015), section 6.
    """
    inputs, labels = require_samples(np.asarray(x, dtype=np.float32), y)
    of_type("attack", attack, "perturb", "an attack such as PGD(eps=0.1)")
    whole("seed", seed, "a number from 0 on", least=0)
    for name, count in (("epochs", epochs), ("batch_size", batch_size)):
        whole(name, count, "a number from 1 on")
    if progress is not None:
        of_type("progress", progress, "__call__", "a function")
    steps = trainer(model, learning_rate=learning_rate)
    labels = label_columns(steps.adapter, labels)
    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, 5, epoch]).permutation(len(inputs))
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch, targets = inputs[rows], labels[rows]
            examples = attack.perturb(
                steps.adapter, batch, targets, seed=seed + epoch, bounds=bounds, index=rows
            )
            if clean:
                examples = np.concatenate([batch, examples])
                targets = np.concatenate([targets, targets])
            total += steps.step(examples, targets) * len(rows)
            if progress is not None:
                progress(epoch * len(order) + start + len(rows), epochs * len(order))
        losses.append(total / len(order))
    return Hardening(attack=attack.name, losses=tuple(losses))
