"""Demo network in Keras on TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._extras import require
from mlsecops.adapters import adapt
from mlsecops.demo.digits import CLASSES, SIDE

if TYPE_CHECKING:
    from mlsecops.demo.digits import Split
    from mlsecops.loading import LoadedModel, SecureLoader
    from mlsecops.robustness import Attack

BATCH: Final = 64  # images; chosen
FILE: Final = "model.keras"


class KerasNetwork:
    """Network that is built, trained, saved and loaded with Keras."""

    title = "Keras on TensorFlow"
    channels_first = False

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        tensorflow = require("tensorflow")
        tensorflow.config.experimental.enable_op_determinism()
        self._keras = require("keras")

    def build(self, *, seed: int) -> Any:
        """Make an untrained model that returns logits `(n, 10)`."""
        keras = self._keras
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 1)),
                layers.Conv2D(16, 3, padding="same", activation="relu"),
                layers.Conv2D(32, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(64, activation="relu"),
                layers.Dense(CLASSES),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(2e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    def fit(
        self, model: Any, data: Split, *, epochs: int, seed: int, attack: Attack | None = None
    ) -> None:
        """Train in place; with an attack, also on its examples."""
        rng = np.random.default_rng(seed)
        view = adapt(model)
        for epoch in range(epochs):
            order = rng.permutation(len(data.y))
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                x, y = data.x[rows], data.y[rows]
                if attack is not None:
                    examples = attack.perturb(view, x, y, seed=seed + epoch, bounds=(0, 1))
                    x, y = np.concatenate([x, examples]), np.concatenate([y, y])
                model.train_on_batch(x, y)

    def save(self, model: Any, folder: Path) -> None:
        """Write `model.keras`."""
        model.save(folder / FILE)

    def load(self, loader: SecureLoader, folder: Path) -> LoadedModel:
        """Load the whole model."""
        return loader.load(folder)
