"""Answers of a model as numbers: values of a regression, or one score for each label.

model → `answers_of` → `Answers`: inputs → `(n, m)`, and their gradient where there is one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np

from mlsecops._extras import require
from mlsecops.adapters import Adapter, Pullback, adapt
from mlsecops.adapters.base import in_batches
from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Array

    Floats: TypeAlias = NDArray[np.float64]

_PLAIN: Final = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
_HALF: Final = 0.5 + 1e-9  # probability; a label applies above a half, and a tie is none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """A model's answers.

    Attributes:
        call: Inputs, as the model takes them, → answers `(n, m)`.
        adapter: The Adapter behind them where it has gradients, else None.
        single: Whether the Adapter's two scores are one answer, the second less the first.
    """

    call: Callable[[Any], Floats]
    adapter: Adapter | None = None
    single: bool = False

    def gradient(self, x: Array, slope: Callable[[Floats], Floats]) -> tuple[Floats, Array]:
        """Answers, and the gradient of the sum of the answers times their slope."""
        adapter = cast("Pullback", self.adapter)

        def cotangent(logits: Array) -> Array:
            answers = _of_logits(logits, single=self.single)
            by_answer = slope(answers)
            full = np.concatenate([-by_answer, by_answer], axis=1) if self.single else by_answer
            return full.astype(np.float32)

        logits, gradient = adapter.pullback(x, cotangent)
        return _of_logits(logits, single=self.single), gradient


def values_of(model: Any, width: int) -> Answers:
    """Values of a regression with `width` outputs."""
    if isinstance(model, Ensemble):
        return Answers(call=model.answers)
    if _is_plain(model):
        return Answers(call=lambda x: _predicted(model, x, width))
    view = adapt(model) if _is_adapter(model) else adapt(model, output=_form(width))
    return _adapted(view, single=width == 1)


def label_scores_of(model: Any, x: Any) -> Answers:
    """Scores of a model for several labels; a label applies where its score is above 0.

    Args:
        model: A model whose labels do not exclude each other.
        x: Inputs, on which it is found out whether torch's or Keras' answers are probabilities.
    """
    if _is_plain(model):
        return Answers(call=lambda x: _label_scores(model, x))
    view = adapt(model) if _is_adapter(model) else adapt(model, output="logits")
    found = _adapted(view, single=False)
    clean = found.call(x)
    if clean.min() >= 0 and clean.max() <= 1:
        return Answers(call=lambda x: found.call(x) - _HALF)
    if clean.min() >= 0:
        raise UsageError(
            f"model output: one answer for each label, from {clean.min():.4g} to "
            f"{clean.max():.4g} and never below 0: expected logits, below 0 where a label does not "
            "apply, or probabilities; divide percentages by 100"
        )
    return found


def _is_plain(model: Any) -> bool:
    homes = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    return hasattr(model, "predict") and bool(homes & _PLAIN)


def _is_adapter(model: Any) -> bool:
    return isinstance(model, Adapter) or isinstance(getattr(model, "adapter", None), Adapter)


def _form(width: int) -> Any:
    return "logit" if width == 1 else "logits"


def _adapted(view: Adapter, *, single: bool) -> Answers:
    return Answers(
        call=lambda x: _of_logits(in_batches(view.logits, x), single=single),
        adapter=view if view.differentiable and isinstance(view, Pullback) else None,
        single=single,
    )


def _of_logits(logits: Array, *, single: bool) -> Floats:
    scores = np.asarray(logits, dtype=np.float64)
    return scores[:, 1:] - scores[:, :1] if single else scores


def _predicted(model: Any, x: Any, width: int) -> Floats:
    if type(model).__module__.startswith("xgboost") and hasattr(model, "save_raw"):
        x = require("xgboost").DMatrix(x, feature_names=model.feature_names)
    answers = np.asarray(model.predict(x), dtype=np.float64)
    if answers.size != len(answers) * width:
        raise UsageError(
            f"{type(model).__name__}: expected {width} values for each input, got "
            f"{answers.shape}; give y as many columns, or a model of one value"
        )
    return answers.reshape(-1, width)


def _label_scores(model: Any, x: Any) -> Floats:
    if hasattr(model, "predict_proba"):
        given = model.predict_proba(x)
        if isinstance(given, list):  # one array `(n, classes)` for each label
            seen = [len(known) > 1 or known[0] == 1 for known in model.classes_]  # else never 1
            pairs = zip(given, seen, strict=True)
            return np.stack([np.asarray(p)[:, -1] * one - _HALF for p, one in pairs], axis=1)
        return np.asarray(given, dtype=np.float64) - _HALF
    if hasattr(model, "decision_function"):
        return np.asarray(model.decision_function(x), dtype=np.float64)
    return np.asarray(model.predict(x), dtype=np.float64) - _HALF
