"""scikit-learn Adapter: probabilities, decisions or labels of a classifier; no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.adapters.answers.output_form import as_logits, found_form, width_of
from mlsecops.adapters.base import (
    BlackBox,
    FrameworkAdapter,
    float_rows,
    in_batches,
    require_cpu,
    require_width,
    softmax,
)
from mlsecops.errors import FormatRefused, UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.answers.output_form import OutputForm
    from mlsecops.adapters.base import Array

_SOURCES: Final = {
    "probabilities": {"probabilities"}, "logits": {"decisions"}, "logit": {"decisions"},
}  # fmt: skip
"""What `output=` asks of the classifier: predict_proba or decision_function."""

_THRESHOLDS: Final = frozenset({"FixedThresholdClassifier", "TunedThresholdClassifierCV"})
"""Classifiers whose `predict` is not the class of the highest score; scikit-learn, 1.5."""


@concise_repr("model", "scores")
class SklearnAdapter(FrameworkAdapter, BlackBox):
    """A fitted scikit-learn classifier, on the CPU.

    Label `i` is `classes_[i]`; inputs are flattened to `(n, d)`, and integers stay integers.

    Attributes:
        scores: What the answers are made of: `"probabilities"`; `"decisions"`, the distances of a
            classifier without probabilities (SVC, RidgeClassifier), whose softmax is no
            calibrated probability; or `"labels"` (hard voting), which give one class all of it.
        classes_: The classifier's own labels `(k,)`, in the order of the scores.
    """

    framework = "sklearn"
    scores: str

    def _prepare(self, device: str | None) -> None:
        self.name = type(self.model).__name__
        if self.name in _THRESHOLDS:
            raise UsageError(
                f"{self.name} answers by a threshold t, not by the higher of two probabilities: "
                "give a function of scores that agree with it, such as "
                "lambda x: numpy.log(model.predict_proba(x) / [1 - t, t])"
            )
        kinds = (
            ("predict_proba", "probabilities"),
            ("decision_function", "decisions"),
            ("predict", "labels"),
        )
        wanted = _SOURCES.get(str(self._request.form), {scores for _, scores in kinds})
        found = [scores for method, scores in kinds
                 if hasattr(self.model, method) and scores in wanted]  # fmt: skip
        if not found or (found[0] != "probabilities" and _classes(self.model) is None):
            raise UsageError(
                f"{self.name}: expected a fitted classifier with predict_proba, "
                "decision_function or predict, and its classes_; detectors of outliers have none, "
                "and for a regression give evaluate_robustness a tolerance"
            )
        self.scores = found[0]
        require_cpu(device, what="scikit-learn models")

    @property
    def classes_(self) -> Any:
        """The labels behind the columns, or None."""
        return _classes(self.model)

    def predict(self, x: Array) -> Array:
        """Class probabilities `(n, k)`, rows summing to 1."""
        answers = in_batches(self._answers, self._rows(x))
        form = cast("OutputForm", self._form)
        rows = answers if form.form == "probabilities" else softmax(as_logits(answers, form))
        require_width(rows.shape, self._classes)
        return rows

    def logits(self, x: Array) -> Array:
        """Decisions `(n, k)` where the classifier has no probabilities, else their logarithms."""
        answers = in_batches(self._answers, self._rows(x))
        rows = as_logits(answers, cast("OutputForm", self._form))
        require_width(rows.shape, self._classes)
        return rows

    def _answers(self, batch: Array) -> Array:
        """The classifier's scores `(n, k)`, of a form that is found out on the first batch."""
        import numpy as np  # noqa: PLC0415 - only where arrays are converted

        batch = batch.copy()  # steps with copy=False write into their input
        with self._answering(batch):
            answer = self._decisions(batch) if self.scores == "decisions" else self._given(batch)
        member = self._form.member if self._form else self._request.member(answer, rows=len(batch))
        output: Any = np.asarray(self._request.take(answer, member), np.float32)
        scores = cast("Array", output.reshape(len(batch), width_of(output.shape, rows=len(batch))))
        if self._form is None and len(batch):
            last = "affine" if self.scores == "decisions" else None
            self._form = found_form(scores, self._request, last=last, member=member)
        return scores

    def _rows(self, x: Any) -> Array:
        import numpy as np  # noqa: PLC0415 - only where arrays are converted

        given = np.asarray(x)
        return cast("Array", given) if given.dtype.kind in "iu" else float_rows(given)

    def _given(self, batch: Array) -> Any:
        import numpy as np  # noqa: PLC0415 - as above

        if self.scores == "probabilities":
            return self.model.predict_proba(_flat(batch))
        classes = _classes(self.model)
        labels = np.asarray(self.model.predict(_flat(batch)))
        return cast("Array", (labels[:, None] == classes).astype(np.float32))

    def _decisions(self, batch: Array) -> Array:
        import numpy as np  # noqa: PLC0415 - as above

        found = np.asarray(self.model.decision_function(_flat(batch)), np.float32)
        if found.ndim == 1:  # of the second class
            return np.stack([np.zeros_like(found), found], axis=1)
        count = len(_classes(self.model))
        pairs = count * (count - 1) // 2
        shape = getattr(_last(self.model), "decision_function_shape", "")
        if shape == "ovo" and found.shape[1] == pairs:
            return _votes(found, count)
        return found

    def features(self, x: Array) -> Array:
        """The flattened inputs `(n, d)`: these models have no hidden layer."""
        return _flat(self._rows(x))

    def encode(self) -> bytes:
        """The classifier in skops' format."""
        return bytes(require("skops.io").dumps(self.model))

    def decode(self, data: bytes) -> None:
        """Replace the classifier by that of a skops archive of types that skops trusts."""
        skops = require("skops.io")
        try:
            found = skops.loads(data)
        except Exception as error:  # skops has no common error
            raise FormatRefused(f"skops refuses the bytes: {error}") from error
        if type(found) is not type(self.model):
            raise FormatRefused(
                f"skops archive: expected a {self.name}, got a {type(found).__name__}"
            )
        self.model = found


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def _classes(model: Any) -> Any:
    """The labels of a classifier of one output, or None."""
    import numpy as np  # noqa: PLC0415 - as above

    found = getattr(model, "classes_", None)
    return found if isinstance(found, np.ndarray) and found.ndim == 1 else None


def _last(model: Any) -> Any:
    """The classifier at the end of a pipeline or inside a search."""
    while inner := getattr(model, "best_estimator_", None) or getattr(
        model, "_final_estimator", None
    ):
        model = inner
    return model


def _votes(pairs: Array, count: int) -> Array:
    """Scores `(n, k)` of decisions between pairs of classes: votes, then the sum of the distances.

    Source: scikit-learn, `SVC(decision_function_shape=)`: `"ovr"` is made of `"ovo"` so.
    """
    import numpy as np  # noqa: PLC0415 - as above

    votes = np.zeros((len(pairs), count), np.float32)
    sums = np.zeros_like(votes)
    column = 0
    for first in range(count):
        for second in range(first + 1, count):
            distance = pairs[:, column]
            votes[:, first] += distance > 0
            votes[:, second] += distance <= 0
            sums[:, first] += distance
            sums[:, second] -= distance
            column += 1
    return cast("Array", votes + sums / (3 * (np.abs(sums) + 1)))
