"""Thieves: the first queries of known attacks, by ART where it has them.

A thief sees the victim's answers only, and stops at its budget of queries. Attacks that need an
input to start from have natural ones, as the stronger thief would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
from scipy import ndimage

from benchmarks.thieves.honest import QUERIES, Rng, iid
from benchmarks.thieves.tasks import Floats, Task, rows_of

SEEDS = 20
STEP = 0.1
Thief = Callable[[Rng, Task], Floats]


class _SpentError(Exception):
    """The thief has used its budget up."""


class Recorder:
    """A victim that writes its queries down, until the budget is spent."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.queries: list[Floats] = []

    def __call__(self, x: Any) -> Floats:
        """Answer."""
        rows = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
        self.queries.extend(rows)
        if len(self.queries) >= QUERIES:
            raise _SpentError
        return self._task.answer(rows)

    def first(self) -> Floats:
        """The queries that the budget allowed."""
        return np.array(self.queries[:QUERIES])


def uniform(rng: Rng, task: Task) -> Floats:
    """Noise."""
    return rng.uniform(size=(QUERIES, task.fresh.x.shape[1]))


def patches(rng: Rng, task: Task) -> Floats:
    """Knockoff (Orekondy 2019) by ART: patches of photographs, chosen at random."""
    return _knockoff(rng, task, _photographs(task.side))


def foreign(rng: Rng, task: Task) -> Floats:
    """Knockoff by ART with the other task's images: closer to its data."""
    return _knockoff(rng, task, _foreign(task.name))


def _knockoff(rng: Rng, task: Task, pool: Floats) -> Floats:
    from art.attacks.extraction import KnockoffNets  # noqa: PLC0415 - slow to import

    chosen = pool[rng.choice(len(pool), 1000, replace=False)]
    with _recording(task, rng) as (recorder, classifier):
        attack = KnockoffNets(classifier, nb_stolen=QUERIES, verbose=False)
        images = chosen.reshape(-1, *task.shape).astype(np.float32)
        attack.extract(images, thieved_classifier=classifier)
    return recorder.first()


def lines(rng: Rng, task: Task) -> Floats:
    """Ten points on the line between each of many pairs of natural rows."""
    ends = task.fresh.x[rng.choice(len(task.fresh.x), (QUERIES // 10, 2))]
    steps = np.linspace(0, 1, 10)[None, :, None]
    return (ends[:, :1] * (1 - steps) + ends[:, 1:] * steps).reshape(QUERIES, -1)


def jacobian(rng: Rng, task: Task) -> Floats:
    """Jacobian-based augmentation (Papernot 2017) from twenty natural rows."""
    x = task.fresh.x[rng.choice(len(task.fresh.x), SEEDS)]
    while len(x) < QUERIES:
        answers = task.answer(x)
        slope = Substitute(rng, x, answers).slope(x, answers.argmax(axis=1))
        x = np.concatenate([x, np.clip(x + STEP * np.sign(slope), 0, 1)])
    return x[:QUERIES]


def hop_skip_jump(rng: Rng, task: Task) -> Floats:
    """HopSkipJump (Chen 2020) by ART, from one natural row towards another's class."""
    from art.attacks.evasion import HopSkipJump  # noqa: PLC0415 - as above

    return _walk(rng, task, lambda c: HopSkipJump(c, targeted=True, max_iter=50, verbose=False))


def boundary(rng: Rng, task: Task) -> Floats:
    """Boundary attack (Brendel 2018) by ART, from one natural row towards another's class."""
    from art.attacks.evasion import BoundaryAttack  # noqa: PLC0415 - as above

    return _walk(rng, task, lambda c: BoundaryAttack(c, targeted=True, verbose=False))


def square(rng: Rng, task: Task) -> Floats:
    """Square attack (Andriushchenko 2020) by ART, on one natural row after the other."""
    from art.attacks.evasion import SquareAttack  # noqa: PLC0415 - as above

    with _recording(task, rng) as (recorder, classifier):
        while True:
            row = iid(rng, task.fresh, task.side)[:1]
            attack = SquareAttack(classifier, eps=0.2, max_iter=30, verbose=False)
            attack.generate(_image(row, task), y=task.answer(row))
    return recorder.first()


def foreign_table(rng: Rng, task: Task) -> Floats:
    """Columns of another table (breast cancer), in the range of this one's."""
    x, _ = sklearn.datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    columns = rng.choice(x.shape[1], task.fresh.x.shape[1], replace=False)
    return x[rng.choice(len(x), QUERIES)][:, columns]


def shuffled(rng: Rng, task: Task) -> Floats:
    """Each column's own values, but independent of the other columns."""
    return np.stack([rng.choice(column, QUERIES) for column in task.fresh.x.T], axis=1)


def mixed(share: float, attack: Thief = uniform) -> Thief:
    """Queries of an attack, in order, at that share among natural rows."""

    def thief(rng: Rng, task: Task) -> Floats:
        queries = iid(rng, task.fresh, task.side).copy()
        chosen = rng.random(QUERIES) < share
        queries[chosen] = attack(rng, task)[: chosen.sum()]
        return queries

    return thief


def natural(rng: Rng, task: Task) -> Floats:
    """Rows of the task's own distribution: no detector can tell this thief from a client."""
    return iid(rng, task.fresh, task.side)


def _walk(rng: Rng, task: Task, make: Callable[[Any], Any]) -> Floats:
    """Walks along the boundary between pairs of natural rows until the budget is spent."""
    with _recording(task, rng) as (recorder, classifier):
        while True:
            start, goal = _pair(rng, task)
            target = np.eye(task.classes)[task.answer(goal).argmax(axis=1)]
            attack = make(classifier)
            attack.generate(_image(start, task), y=target, x_adv_init=_image(goal, task))
    return recorder.first()


def _pair(rng: Rng, task: Task) -> tuple[Floats, Floats]:
    """Two natural rows that the victim answers differently."""
    while True:
        rows = iid(rng, task.fresh, task.side)[:2]
        first, second = task.answer(rows).argmax(axis=1)
        if first != second:
            return rows[:1], rows[1:]


def _image(row: Floats, task: Task) -> Any:
    return row.reshape(1, *task.shape).astype(np.float32)


@contextmanager
def _recording(task: Task, rng: Rng) -> Iterator[tuple[Recorder, Any]]:
    """ART's view of the victim; leaving by the spent budget is how an attack ends."""
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # noqa: PLC0415

    logging.getLogger("art").setLevel(logging.ERROR)
    np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - ART draws from the global state
    recorder = Recorder(task)
    made = BlackBoxClassifierNeuralNetwork(
        recorder, task.shape, task.classes, clip_values=(0.0, 1.0)
    )
    try:
        yield recorder, made
    except _SpentError:
        return


@cache
def _photographs(side: int) -> Floats:
    """Grey patches of scikit-learn's two photographs, as rows in [0, 1]."""
    import tensorflow as tf  # noqa: PLC0415 - only to decode JPEG

    found = []
    for name in ("china.jpg", "flower.jpg"):
        path = Path(sklearn.datasets.__file__).parent / "images" / name
        grey = tf.io.decode_jpeg(path.read_bytes()).numpy().mean(axis=2) / 255.0
        for step in (1, 2, 4):
            small = grey[::step, ::step]
            tiles = np.lib.stride_tricks.sliding_window_view(small, (side, side))[::7, ::7]
            found.append(tiles.reshape(-1, side * side))
    return np.concatenate(found)


@cache
def _foreign(name: str) -> Floats:
    """Images of the other task in this task's size."""
    if name == "digits":
        clothes = rows_of("fashion")[0][:5000].reshape(-1, 28, 28)
        return ndimage.zoom(clothes, (1, 8 / 28, 8 / 28), order=1).reshape(-1, 64)
    digits = rows_of("digits")[0].reshape(-1, 8, 8)
    return ndimage.zoom(digits, (1, 28 / 8, 28 / 8), order=1).reshape(-1, 784)


class Substitute:
    """The thief's own network, trained on the answers it has."""

    def __init__(self, rng: Rng, x: Floats, answers: Floats, *, rounds: int = 60) -> None:
        width = 32
        self.first = rng.normal(size=(x.shape[1], width)) / np.sqrt(x.shape[1])
        self.second = rng.normal(size=(width, answers.shape[1])) / np.sqrt(width)
        for _ in range(rounds):
            hidden = np.maximum(x @ self.first, 0)
            scores = hidden @ self.second
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = (powers / powers.sum(axis=1, keepdims=True) - answers) / len(x)
            back = (error @ self.second.T) * (hidden > 0)
            # Steps that large inputs would make too long, as a normalising layer would.
            self.second -= 4.0 * hidden.T @ error / max(1.0, float(np.square(hidden).mean()))
            self.first -= 4.0 * x.T @ back / max(1.0, float(np.square(x).sum(axis=1).mean()))

    def classes(self, x: Floats) -> Any:
        """Predicted classes."""
        return (np.maximum(x @ self.first, 0) @ self.second).argmax(axis=1)

    def slope(self, x: Floats, classes: Any) -> Floats:
        """Derivative of each row's class score by its input."""
        active = (x @ self.first) > 0
        return np.asarray((active * self.second.T[classes]) @ self.first.T)


COMMON: dict[str, Thief] = {
    "uniform": uniform,
    "line search": lines,
    "HopSkipJump": hop_skip_jump,
    "boundary attack": boundary,
}
OF_IMAGES: dict[str, Thief] = {
    "Knockoff: photographs": patches,
    "Knockoff: other images": foreign,
    "Jacobian augmentation": jacobian,
}
OF_TABLES: dict[str, Thief] = {
    "columns of another table": foreign_table,
    "independent columns": shuffled,
}
THIEVES: dict[str, Thief] = {**COMMON, **OF_IMAGES}
OTHERS: dict[str, Thief] = {
    "square attack": square,
    "25 % uniform": mixed(0.25),
    "10 % uniform": mixed(0.1),
    "25 % Jacobian": mixed(0.25, jacobian),
    "10 % Jacobian": mixed(0.1, jacobian),
    "25 % HopSkipJump": mixed(0.25, hop_skip_jump),
}


def thieves_of(task: Task) -> dict[str, Thief]:
    """Attacks that must be found in the budget."""
    return {**COMMON, **(OF_IMAGES if task.side else OF_TABLES)}


def others_of(task: Task) -> dict[str, Thief]:
    """Attacks that are measured and mostly hide: evasion, and shares of an attack."""
    found = {name: thief for name, thief in OTHERS.items() if task.side or thief is not square}
    return found if task.side else {**found, "Jacobian augmentation": jacobian}
