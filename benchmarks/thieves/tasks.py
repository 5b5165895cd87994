"""Victims of theft: models of scikit-learn's digits, of Fashion-MNIST and of packages' tables.

The rows are split into four parts that share nothing: one trains the model, one is the baseline's
and the calibration clients', one the measured clients', one judges what a thief has learnt.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

FASHION = Path("/usr/share/datasets/fashion-mnist")
TABLES = {
    "housing": ("nannyml/datasets/data/california_housing_reference.csv", "clf_target"),
    "segment": ("river/datasets/segment.csv.zip", "category"),
    "shuttle": ("river/datasets/shuttle.csv.gz", "anomaly"),
    "randhie": ("statsmodels/datasets/randhie/randhie.csv", "mdvis"),
}
"""Files of the packages in the peers' environments, and the column of the classes."""
LEFT_OUT = {"y_pred_proba", "y_pred", "partition", "timestamp", "period", "id"}
MOST_CLASSES = 10
SIZES = {
    "digits": (500, 600, 500, 197),
    "fashion": (6000, 3000, 6000, 2000),
    "housing": (2500, 2000, 2500, 1000),
    "segment": (700, 700, 700, 210),
    "shuttle": (2500, 2000, 2500, 1000),
    "randhie": (2500, 2000, 2500, 1000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Rows of the task's distribution, in [0, 1], and their true classes."""

    x: Floats
    y: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A victim, and data for everybody around it.

    Attributes:
        name: ``digits``, ``fashion`` or a table of `TABLES`.
        side: Height and width of an image; 0 of a table.
        answer: The victim: rows to probabilities.
        known: Rows of the baseline and of the clients that calibrate.
        fresh: Rows of the clients that are measured.
        judged: Rows on which a stolen model is compared with the victim.
    """

    name: str
    side: int
    answer: Callable[[Floats], Floats]
    known: Pool
    fresh: Pool
    judged: Pool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, as the attacks take it."""
        return (1, self.side, self.side) if self.side else (self.fresh.x.shape[1],)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.answer(self.fresh.x[:1]).shape[1])


def load(name: str, seed: int) -> Task:
    """A task with another split and another victim for each seed."""
    x, y = rows_of(name)
    order = np.random.default_rng(seed).permutation(len(x))
    ends = np.cumsum(SIZES[name])
    train, known, fresh, judged = np.split(order[: ends[-1]], ends[:-1])
    pools = [Pool(x=x[part], y=y[part]) for part in (known, fresh, judged)]
    return Task(
        name=name,
        side=0 if name in TABLES else int(np.sqrt(x.shape[1])),
        answer=_victim(x[train], y[train], seed),
        known=pools[0],
        fresh=pools[1],
        judged=pools[2],
    )


def rows_of(name: str) -> tuple[Floats, Labels]:
    """All rows of a task, and their classes."""
    return _table(*TABLES[name]) if name in TABLES else _IMAGES[name]()


def _digits() -> tuple[Floats, Labels]:
    x, y = load_digits(return_X_y=True)
    return x / 16.0, y


def _fashion() -> tuple[Floats, Labels]:
    """The training part of Fashion-MNIST, from Debian's package dataset-fashion-mnist."""
    images = gzip.decompress((FASHION / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / "train-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, dtype=np.uint8, offset=16).reshape(-1, 784)
    return x / 255.0, np.frombuffer(labels, dtype=np.uint8, offset=8).astype(np.int64)


def _table(file: str, target: str) -> tuple[Floats, Labels]:
    """A package's table, each column by its middle 99 % in [0, 1]; numbers become two classes."""
    found = sorted(Path(__file__).parents[1].glob(f".env-*/lib/*/site-packages/{file}"))
    if not found:
        raise SystemExit(f"{file}: expected an environment of the peers; run `make peers`")
    table = pd.read_csv(found[0])
    classes = table.pop(target)
    if classes.nunique() > MOST_CLASSES:
        classes = classes > classes.median()
    x = table.drop(columns=LEFT_OUT & set(table.columns)).to_numpy(dtype=np.float64)
    low, high = np.quantile(x, [0.005, 0.995], axis=0)
    x = np.clip((x - low) / np.where(high > low, high - low, 1.0), 0, 1)
    return x, np.asarray(pd.factorize(classes, sort=True)[0], dtype=np.int64)


_IMAGES = {"digits": _digits, "fashion": _fashion}


def _victim(x: Floats, y: Labels, seed: int) -> Callable[[Floats], Floats]:
    """A network of one hidden layer, as plain matrix products: thieves ask one row at a time."""
    net = MLPClassifier((64,), max_iter=60, alpha=1e-3, random_state=seed)
    net.fit(x, y)
    (first, second), (bias, offset) = net.coefs_, net.intercepts_

    if second.shape[1] == 1:  # of two classes the network has one output
        second, offset = np.hstack([0 * second, second]), np.append(0, offset)

    def answer(rows: Floats) -> Floats:
        scores = np.maximum(rows @ first + bias, 0) @ second + offset
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    return answer
