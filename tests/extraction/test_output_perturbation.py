from __future__ import annotations

import asyncio
import inspect

import numpy as np
import pytest
from art.defences.postprocessor import ReverseSigmoid as ArtReverseSigmoid
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mlsecops.errors import UsageError
from mlsecops.monitoring import LabelOnly, ReverseSigmoid, Rounded, TopK, hardened, monitored

OUTPUTS = (Rounded(decimals=1), Rounded(decimals=3), TopK(k=2), LabelOnly(), ReverseSigmoid())
TABLES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
    elements=st.floats(0, 1),
).map(lambda scores: (scores + 1e-9) / (scores + 1e-9).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("output", OUTPUTS, ids=repr)
@given(rows=TABLES)
def test_every_output_keeps_the_top_class_and_says_no_more_than_before(output, rows) -> None:  # noqa: ANN001 - as the parameters say
    coarse = output(rows)
    assert coarse.shape == rows.shape
    assert ((coarse >= 0) & (coarse <= 1 + 1e-9)).all()
    assert (coarse.argmax(axis=1) == rows.argmax(axis=1)).all()
    np.testing.assert_array_equal(output(rows[0]), coarse[0])


def test_tied_rounding_still_names_the_class_that_was_ahead() -> None:
    np.testing.assert_allclose(Rounded(decimals=1)([0.32, 0.36, 0.32]), [0.3, 0.4, 0.3])
    np.testing.assert_allclose(Rounded(decimals=1)([0.33, 0.34, 0.33]), [0.2, 0.3, 0.2])


def test_reverse_sigmoid_is_art_s_where_the_top_class_is_clear() -> None:
    scores = np.random.default_rng(0).normal(scale=2, size=(200, 5))
    rows = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    theirs = ArtReverseSigmoid(beta=0.7, gamma=0.2)(rows)
    clear = theirs.argmax(axis=1) == rows.argmax(axis=1)
    assert clear.mean() > 0.5
    np.testing.assert_allclose(ReverseSigmoid()(rows)[clear], theirs[clear], atol=1e-4)
    close = np.array([[1e-9, *[0.09] * 8, 0.28]])
    assert ArtReverseSigmoid(beta=0.7, gamma=0.2)(close).argmax() == 0
    assert ReverseSigmoid()(close).argmax() == 9


def test_client_sees_the_coarse_answer_and_the_monitor_the_model_s() -> None:
    answer = np.array([0.61, 0.27, 0.12])
    predict = hardened(TopK(k=2), Rounded(decimals=1))(monitored("hardened")(lambda _: answer))
    np.testing.assert_allclose(predict(1), [0.6, 0.3, 0.0])
    predict.monitor.flush(5)
    assert predict.monitor.controls["Output perturbation"] == "guard"
    assert predict.monitor.snapshot().confidence == pytest.approx(0.61)
    predict.monitor.close()


def test_coroutine_function_stays_one() -> None:
    async def predict(x: int) -> np.ndarray:
        """Answer."""
        return np.array([0.2, 0.8]) + 0 * x

    outer = hardened(LabelOnly())(predict)
    assert inspect.iscoroutinefunction(outer)
    assert inspect.signature(outer) == inspect.signature(predict)
    np.testing.assert_array_equal(asyncio.run(outer(1)), [0, 1])


def test_what_cannot_be_hardened_is_refused() -> None:
    def stream(x: int):  # noqa: ANN202 - a generator
        yield x

    with pytest.raises(UsageError, match="expected at least one output"):
        hardened()
    with pytest.raises(UsageError, match="decimals: expected 1 to 15, got 16"):
        Rounded(decimals=16)
    for wrong in (
        lambda: hardened(LabelOnly())(stream),
        lambda: LabelOnly()("yes"),
        lambda: LabelOnly()([0.5, np.nan]),
        lambda: LabelOnly()([1.0]),
        lambda: Rounded(decimals=0),
        lambda: TopK(k=0),
        lambda: ReverseSigmoid(beta=0),
    ):
        with pytest.raises(UsageError):
            wrong()
