"""Output form of a model (logits, probabilities …), and the member of its answers with the scores.

answer of a framework → `scores_member` → one array → `found_form` on data → `OutputForm`

The last operation of the model, where a framework shows it, decides; else the values do. Values
that fit several forms are refused, and the error names `output=`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

from mlsecops._choices import one_of
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]

Form: TypeAlias = Literal[
    "logits", "probabilities", "log-probabilities", "logit", "probability", "log-probability"
]
Output: TypeAlias = "Form | Callable[[Any], Any] | tuple[Form, Callable[[Any], Any]]"

ONE_COLUMN: Final = frozenset({"logit", "probability", "log-probability"})
_SUM: Final = 1e-3  # share; chosen: sums of half-precision probabilities differ from 1 by less
_HALF: Final = 0.5  # probability at which one column changes its class
_ADVICE: Final = (
    'say what it is: adapt(model, output="logits" | "probabilities" | "log-probabilities" | '
    '"logit" | "probability" | "log-probability"), or output=callable that picks the scores'
)
_LABELS: Final = ", or a label (of k classes: output=lambda answer: numpy.eye(k)[answer])"
_TASKS: Final = "detection, segmentation and text generation are other tasks"
_STATES: Final = frozenset({"pooler_output", "last_hidden_state", "image_embeds", "text_embeds"})
"""Members of `transformers` outputs that hold a model's inner states, never scores."""
_OF_LAST: Final[Mapping[str, tuple[Form, Form]]] = {
    "affine": ("logit", "logits"),
    "tanh": ("logit", "logits"),
    "softmax": ("probability", "probabilities"),
    "sigmoid": ("probability", "probabilities"),
    "log-softmax": ("log-probability", "log-probabilities"),
    "log-sigmoid": ("log-probability", "log-probabilities"),
}
"""Last operation → form of one column, form of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputForm:
    """Form of a model's scores.

    Attributes:
        form: What the scores are.
        width: Columns of the answer: 1, or the number of classes.
        last: Last operation of the model (`"softmax"`, `"sigmoid"`, `"affine"` …), if it is known.
        given: Whether the caller named the form.
        member: Member of the answer that holds the scores, if it is no array itself.
    """

    form: Form
    width: int
    last: str | None = None
    given: bool = False
    member: str | None = None

    def __str__(self) -> str:
        how = "given" if self.given else f"last operation {self.last}" if self.last else "by values"
        where = "" if self.member is None else f"{self.member}: "
        return f"{where}{self.form} ({how})"

    @property
    def reads_before(self) -> bool:
        """Whether the input of the last operation, where it is at hand, holds the logits."""
        return (self.last, self.form) in {
            ("softmax", "probabilities"),
            ("sigmoid", "probability"),
            ("log-sigmoid", "log-probability"),
            ("tanh", "logit"),
            ("tanh", "logits"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """What the caller says about the answers: their form, what picks the scores, or both."""

    form: Form | None = None
    pick: Callable[[Any], Any] | None = None

    @classmethod
    def of(cls, output: Output | None) -> OutputRequest:
        """Read the option `output` of `adapt`.

        Raises:
            UsageError: It is no form, callable, or pair of both.
        """
        if output is None:
            return cls()
        if isinstance(output, str):
            return cls(form=one_of("output", output, get_args(Form)))
        if callable(output):
            return cls(pick=output)
        if isinstance(output, tuple) and len(output) == 2 and callable(output[1]):  # noqa: PLR2004 - a pair
            return cls(form=one_of("output", output[0], get_args(Form)), pick=output[1])
        raise UsageError(
            f"output: expected one of {', '.join(get_args(Form))}, a callable that picks the "
            f"scores, or a pair (form, callable), got {output!r:.80}"
        )

    def member(self, answer: Any, *, rows: int) -> str | None:
        """Name of the member of an answer that holds the scores; None for the answer itself.

        Raises:
            UsageError: Nothing in the answer fits, or several arrays do.
        """
        return None if self.pick is not None else scores_member(answer, rows=rows)

    def take(self, answer: Any, member: str | None) -> Any:
        """The scores in an answer, as the framework's own array.

        Raises:
            UsageError: The callable fails, or the answer has no such member any more.
        """
        if self.pick is None:
            found = answer if member is None else _members(answer).get(member)
        else:
            try:
                found = self.pick(answer)
            except Exception as error:  # the caller's own function
                raise UsageError(
                    f"output: the callable fails on the model's answer, {_kind(answer)}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        if not _is_array(found):
            raise UsageError(
                f"model output: expected an array of scores, got {_kind(found)}; {_ADVICE}"
            )
        return found


def scores_member(answer: Any, *, rows: int) -> str | None:
    """Where the scores stand in an answer: in itself, in `logits`, or in the only fitting array.

    Args:
        answer: Array, mapping, dataclass, named tuple, object or sequence.
        rows: Number of inputs.

    Raises:
        UsageError: Nothing fits, or several arrays do.
    """
    if _is_array(answer):
        return None
    named = _members(answer)
    if _is_array(named.get("logits")):
        return "logits"
    fitting = {
        name: each for name, each in named.items() if name not in _STATES and _fits(each, rows)
    }
    if len(fitting) == 1:
        return next(iter(fitting))
    if fitting:
        raise UsageError(
            f"model output: {_kind(answer)} holds several arrays of scores ({_shapes(fitting)}): "
            f"expected one; {_ADVICE}"
        )
    raise UsageError(
        f"model output: expected scores of classes, an array shaped ({rows}, k), got "
        f"{_kind(answer)}; {_TASKS}; {_ADVICE}"
    )


def width_of(shape: Sequence[int], *, rows: int) -> int:
    """Number of columns of scores of one of the accepted shapes.

    `(n,)` and `(n, 1)` are one column; further axes of length 1 do not count; a single input may
    have lost its axis.

    Raises:
        UsageError: The shape has other axes, or not one row for each input.
    """
    lengths = tuple(int(each) for each in shape)
    if rows == 1 and len(lengths) <= 1 and lengths != (1,):
        return lengths[0] if lengths else 1
    wide = [each for each in lengths[1:] if each != 1]
    if not lengths or lengths[0] != rows or len(wide) > 1 or 0 in lengths:
        raise UsageError(
            f"model output: expected shape (n, k), one row for each of {rows} inputs, got "
            f"{lengths}; {_TASKS}; {_ADVICE}"
        )
    return wide[0] if wide else 1


def found_form(
    scores: Array, request: OutputRequest, *, last: str | None = None, member: str | None = None
) -> OutputForm:
    """Form of scores `(n, k)`, as the caller says or as the last operation and the values show.

    Args:
        scores: Scores of some inputs, float.
        request: What the caller says.
        last: Last operation of the model, if it is known.
        member: Member of the answer that holds the scores.

    Raises:
        UsageError: The values contradict the caller, or fit several forms.
    """
    width = scores.shape[1]
    if request.form is not None:
        _require_agreement(scores, request.form, last)
        return OutputForm(form=request.form, width=width, last=last, given=True, member=member)
    form = _of_last(scores, last) or (_one_column(scores) if width == 1 else _columns(scores))
    return OutputForm(form=form, width=width, last=last, member=member)


def as_logits(scores: Array, form: OutputForm) -> Array:
    """Logits `(n, k)` of scores `(n, width)` of a form, as float32.

    Raises:
        UsageError: The scores are not of the form.
    """
    import numpy as np  # noqa: PLC0415 - adapt() itself must not cost numpy's import

    if scores.shape[1] != form.width:
        raise UsageError(
            f"model output: expected {form.width} columns as before, got {scores.shape[1]}"
        )
    require_values(scores, form)
    kind, tiny = form.form, np.finfo(np.float32).tiny
    if kind in {"logits", "log-probabilities"}:
        return scores
    if kind == "logit":
        return np.concatenate([np.zeros_like(scores), scores], axis=1)
    if kind == "log-probability":
        other = np.log(np.maximum(-np.expm1(scores), tiny))
        return np.concatenate([other, scores], axis=1)
    both = scores if kind == "probabilities" else np.concatenate([1 - scores, scores], axis=1)
    return cast("Array", np.log(np.maximum(both, tiny)))


def require_values(scores: Array, form: OutputForm) -> None:
    """Refuse scores of a later batch that are not of the form; NaN is none, and no right answer.

    Raises:
        UsageError: A probability is outside 0 and 1, or a log-probability is above 0.
    """
    low, high = _range(scores, none=(0.0, 0.0))
    outside = {
        "probabilities": low < -_SUM or high > 1 + _SUM,
        "probability": low < -_SUM or high > 1 + _SUM,
        "log-probabilities": high > _SUM,
        "log-probability": high > _SUM,
    }
    if outside.get(form.form, False):
        raise UsageError(
            f"model output: read as {form}, and now has values from {low:.4g} to {high:.4g}; "
            f"{_ADVICE}"
        )


def _of_last(scores: Array, last: str | None) -> Form | None:
    """The form that the last operation implies, if the values do not contradict it."""
    several = scores.shape[1] > 1
    if last is None or last not in _OF_LAST:
        return None
    if several and last in {"sigmoid", "log-sigmoid"}:
        raise UsageError(
            f"model output: ends in a {last} for each of {scores.shape[1]} columns: independent "
            f"labels are no scores of one class; {_ADVICE}"
        )
    if several and last == "softmax" and not _sum_to_one(scores):
        return None  # along another axis
    if several and last == "log-softmax" and not _logs_of_probabilities(scores):
        return None
    return _OF_LAST[last][several]


def _one_column(scores: Array) -> Form:
    low, high = _range(scores)
    if low < 0 < high:
        return "logit"
    if 0 <= low < _HALF < high <= 1 + _SUM:
        return "probability"
    raise UsageError(
        f"model output: one column with values from {low:.4g} to {high:.4g} may be a logit, a "
        f"probability or a log-probability{_LABELS if high > 1 else ''}; {_ADVICE}"
    )


def _columns(scores: Array) -> Form:
    low, high = _range(scores)
    if _sum_to_one(scores):
        return "probabilities"
    if _logs_of_probabilities(scores):
        return "log-probabilities"
    if _same_sums(scores):
        raise UsageError(
            f"model output: {scores.shape[1]} columns that sum to {float(scores[0].sum()):.4g} in "
            "every row may be probabilities in another unit: expected a sum of 1; "
            "output=callable that divides them"
        )
    if low < 0 < high or high > 1:
        return "logits"
    raise UsageError(
        f"model output: {scores.shape[1]} columns with values from {low:.4g} to {high:.4g} that do "
        "not sum to 1 may be logits, independent probabilities of each class (sigmoids) or their "
        f"logarithms; {_ADVICE}"
    )


def _require_agreement(scores: Array, form: Form, last: str | None) -> None:
    one = scores.shape[1] == 1
    if one != (form in ONE_COLUMN):
        raise UsageError(
            f"output: {form!r} is {'a column for each class' if one else 'one column'}, and the "
            f"model returns {scores.shape[1]}; {_ADVICE}"
        )
    if last in {"sigmoid", "softmax"} and form not in {"probability", "probabilities"} and one:
        raise UsageError(f"output: {form!r} contradicts the model's last operation, a {last}")
    require_values(scores, OutputForm(form=form, width=scores.shape[1], given=True))


def _range(scores: Array, none: tuple[float, float] = (-1.0, 1.0)) -> tuple[float, float]:
    import numpy as np  # noqa: PLC0415 - adapt() itself must not cost numpy's import

    known = scores[np.isfinite(scores)]
    return (float(known.min()), float(known.max())) if known.size else none


def _sum_to_one(scores: Array) -> bool:
    low, _ = _range(scores)
    totals = scores.sum(axis=1)
    return len(scores) > 0 and low >= -_SUM and bool((abs(totals - 1) < _SUM).all())


def _same_sums(scores: Array) -> bool:
    """Whether rows of values of at least 0 sum to one number, as percentages and votes do."""
    low, _ = _range(scores)
    totals = scores.sum(axis=1, dtype=float)
    return len(scores) > 1 and low >= 0 and bool((abs(totals - totals[0]) < _SUM * totals[0]).all())


def _logs_of_probabilities(scores: Array) -> bool:
    import numpy as np  # noqa: PLC0415 - as above

    _, high = _range(scores)
    if high > _SUM:
        return False
    with np.errstate(under="ignore"):
        return _sum_to_one(np.exp(scores.astype(np.float64)))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)


def _members(answer: Any) -> dict[str, Any]:
    """Members of an answer by name; those of a sequence by place."""
    if isinstance(answer, Mapping):
        return {str(key): value for key, value in answer.items()}
    if is_dataclass(answer) and not isinstance(answer, type):
        return {each.name: getattr(answer, each.name) for each in fields(answer)}
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return dict(zip(answer._fields, answer, strict=True))
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        return {f"[{place}]": value for place, value in enumerate(answer)}
    members = dict(getattr(answer, "__dict__", {}))
    return (
        {"logits": answer.logits}
        if "logits" not in members and hasattr(answer, "logits")
        else members
    )


def _fits(value: Any, rows: int) -> bool:
    """Whether a value may be the scores of some classes: floats, one row for each input."""
    if not _is_array(value) or "float" not in str(value.dtype):
        return False
    try:
        width_of(value.shape, rows=rows)
    except UsageError:
        return False
    return True


def _shapes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())


def _kind(answer: Any) -> str:
    """What an answer is, for an error message."""
    name = type(answer).__name__
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        inner = sorted({_kind(each) for each in answer[:3]})
        return f"a {name} of {len(answer)} ({'; '.join(inner)[:120]})"
    if isinstance(answer, Mapping):
        return f"a {name} with {', '.join(map(str, list(answer)[:6])) or 'nothing'}"
    return f"{name} {tuple(answer.shape)}" if _is_array(answer) else f"a {name}"
