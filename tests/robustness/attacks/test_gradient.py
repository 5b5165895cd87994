from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.robustness import FGSM, PGD, Attack, suite
from mlsecops.robustness.attacks.losses import is_correct
from tests.attackers.robustness import Disguised, SoftmaxRegression
from tests.robustness.conftest import Samples

BOUNDS = (0.0, 1.0)
PROFILES = ("quick", "standard", "nightly")


def survivors(
    model: Any, attack: Attack, x: NDArray[np.float32], y: NDArray[np.int64], **options: Any
) -> Any:
    examples = attack.perturb(model, x, y, seed=0, bounds=BOUNDS, **options)
    return is_correct(model.logits(examples), y)


@pytest.mark.parametrize("attack", [FGSM(0.11), PGD(0.11, steps=10), PGD(0.11, steps=3)])
def test_exactly_the_samples_within_eps_of_the_boundary_are_fooled(
    two_class: SoftmaxRegression, samples: Samples, attack: Attack
) -> None:
    x, y = samples
    distance = np.abs(x[:, 0] - 0.5)
    assert (survivors(two_class, attack, x, y) == (distance > 0.11)).all()


def test_l2_radius_is_that_of_the_whole_input(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    distance = np.abs(x[:, 0] - 0.5) * np.sqrt(10)
    stands = survivors(two_class, PGD(0.36, norm="l2", steps=20), x, y)
    assert (stands == (distance > 0.36)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("until", ["fooled", "end"])
def test_examples_stay_inside_the_ball_and_the_bounds(
    two_class: SoftmaxRegression, samples: Samples, norm: str, until: Any
) -> None:
    x, y = samples
    x = np.clip(x * 2 - 0.5, 0, 1)
    attack = PGD(0.3, norm=norm, steps=5, until=until)
    examples = attack.perturb(two_class, x, y, seed=1, bounds=BOUNDS)
    offset = (examples.astype(float) - x).reshape(len(x), -1)
    order = np.inf if norm == "linf" else 2
    assert np.linalg.norm(offset, ord=order, axis=1).max() <= 0.3 + 1e-6
    assert examples.min() >= 0
    assert examples.max() <= 1
    assert examples.dtype == np.float32


def test_examples_do_not_depend_on_the_batch_size(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    one, many = (
        PGD(0.1, steps=4).perturb(two_class, x, y, seed=3, bounds=BOUNDS, batch_size=size)
        for size in (1, 64)
    )
    assert np.allclose(one, many, atol=1e-6)


def test_random_start_follows_the_sample_and_not_its_row(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    attack = PGD(0.15, steps=2)
    whole = attack.perturb(two_class, x, y, seed=3, bounds=BOUNDS)
    rows = np.array([7, 120, 199])
    some = attack.perturb(two_class, x[rows], y[rows], seed=3, bounds=BOUNDS, index=rows)
    assert np.allclose(whole[rows], some, atol=1e-6)


def test_another_seed_gives_other_examples(two_class: SoftmaxRegression, samples: Samples) -> None:
    x, y = samples
    first, second = (
        PGD(0.01, steps=1, step=0.001).perturb(two_class, x, y, seed=s, bounds=BOUNDS)
        for s in (1, 2)
    )
    assert not np.allclose(first, second)


def test_fooled_samples_are_dropped_from_the_batch(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    seen = {}
    for until in ("fooled", "end"):
        model = Disguised(two_class)
        PGD(0.15, steps=10, until=until).perturb(model, x, y, seed=0, bounds=BOUNDS)
        seen[until] = sum(model.seen)
    assert seen["end"] == 10 * len(x)
    assert seen["fooled"] < 0.7 * seen["end"]


def test_samples_that_leave_make_room_for_others(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    model = Disguised(two_class)
    PGD(0.11, steps=10).perturb(model, x, y, seed=0, bounds=BOUNDS, batch_size=50)
    assert max(model.seen) == 50
    assert sum(size == 50 for size in model.seen) > 0.7 * len(model.seen)


def test_restarts_only_take_what_the_earlier_ones_left(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    model = Disguised(two_class)
    PGD(0.11, steps=5, restarts=2).perturb(model, x, y, seed=0, bounds=BOUNDS)
    assert len(x) in model.seen
    assert min(model.seen) <= 100


def test_saturated_scores_do_not_stop_the_attack(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    x, y = samples
    two_class.weights *= 1000
    two_class.bias *= 1000
    _, gradient = two_class.loss_gradient(x, y)
    assert not gradient.any()
    distance = np.abs(x[:, 0] - 0.5)
    for attack in (FGSM(0.11), PGD(0.11, steps=10)):
        assert (survivors(two_class, attack, x, y) == (distance > 0.11)).all()


def test_caller_s_arrays_are_left_alone(two_class: SoftmaxRegression, samples: Samples) -> None:
    x, y = samples
    x.setflags(write=False)
    PGD(0.1, steps=2).perturb(two_class, x, y, seed=0, bounds=BOUNDS)


def test_progress_reaches_the_number_of_samples(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    calls = []
    PGD(0.1, steps=1).perturb(
        two_class,
        *samples,
        seed=0,
        bounds=BOUNDS,
        batch_size=40,
        progress=lambda *call: calls.append(call),
    )
    assert calls == [(160, 200), (200, 200)]


def test_default_step_is_two_and_a_half_radii_over_the_steps() -> None:
    assert PGD(eps=0.2, steps=50).step == pytest.approx(0.01)
    assert PGD(0.2, steps=50, step=0.3).step == 0.3


@pytest.mark.parametrize(
    "build",
    [
        lambda: FGSM(0),
        lambda: PGD(float("nan")),
        lambda: PGD(0.1, steps=0),
        lambda: PGD(0.1, restarts=0),
        lambda: PGD(0.1, step=0.0),
        lambda: PGD(0.1, norm="l7"),
        lambda: PGD(0.1, start="there"),
        lambda: PGD(0.1, until="bored"),
        lambda: suite("thorough", eps=0.1),
    ],
)
def test_settings_that_cannot_work_are_refused(build: Any) -> None:
    with pytest.raises(UsageError):
        build()


def test_model_without_gradients_is_refused(two_class: SoftmaxRegression, samples: Samples) -> None:
    two_class.differentiable = False
    with pytest.raises(UsageError, match="needs gradients"):
        FGSM(0.1).perturb(two_class, *samples, seed=0, bounds=BOUNDS)


def test_each_suite_is_what_its_occasion_needs() -> None:
    names = {name: [a.name for a in suite(name, eps=0.1)] for name in PROFILES}
    assert names == {
        "quick": ["fgsm", "pgd"],
        "standard": ["apgd-ce", "apgd-t"],
        "nightly": ["apgd-ce", "apgd-t", "square"],
    }
    assert all(attack.eps == 0.1 for name in PROFILES for attack in suite(name, eps=0.1))
