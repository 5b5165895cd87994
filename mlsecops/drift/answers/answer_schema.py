"""Answers of a model, of every kind, as features: probabilities, numbers, labels, records, texts.

    answers of the reference → AnswerSchema.fit → AnswerSchema.read(later answers) → Answered

- classes: probabilities `(n, k)`, or `(n,)` of the positive class → confidence, predicted class;
- labels: independent probabilities `(n, k)` of several labels → each, and how many are predicted;
- values: numbers, texts, rankings and records, read as a table is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from mlsecops._json import parse_object
from mlsecops.drift.inputs import Bools, Floats
from mlsecops.drift.tables.containers import as_dense, named_columns, numbers
from mlsecops.drift.tables.encoders import ListEncoder
from mlsecops.drift.tables.schema import InputSchema
from mlsecops.errors import FormatRefused, UsageError

Parse = Literal["no", "mostly", "always"]
AnswerKind = Literal["classes", "labels", "values"]

CLASS_NAMES: Final = ("prediction.confidence", "prediction.class")
_NAME: Final = "prediction"
_VALID: Final = "prediction.valid"  # whether a text is a JSON object
_TOLERANCE: Final = 1e-2  # of a sum of probabilities; chosen: above the rounding of bfloat16
_TABLE: Final = 2  # dimensions
_MOST_LABELS: Final = 1_000_000  # classes; chosen: bounds what an untrusted file can ask for
_BINARY: Final = 2  # classes
_CHOSEN: Final = 0.5  # probability from which a label is predicted
_LONGEST_JSON: Final = 100_000  # characters of an answer that is parsed; chosen: bounds the time
_LOOKED_AT: Final = 50  # answers; chosen: enough to see that they are JSON


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """Answers as they are watched.

    Attributes:
        table: Features of the answers `(n, a)`.
        probabilities: `(n, k)` probabilities of classes, or None for other answers.
    """

    table: Floats
    probabilities: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerSchema:
    """How answers become features.

    Attributes:
        kind: `"classes"`, `"labels"` or `"values"`.
        labels: Number of classes or labels k; 0 for values.
        names: Names of the a features.
        categorical: Features whose numbers are codes `(a,)`.
        values: Schema of values; None for probabilities.
    """

    kind: AnswerKind
    labels: int
    names: tuple[str, ...]
    categorical: Bools
    values: InputSchema | None = None

    @classmethod
    def of_probabilities(cls, probabilities: Any, rows: int) -> tuple[AnswerSchema, Answered]:
        """The schema of probabilities `(n, k)`, or `(n,)` of the positive class.

        Raises:
            UsageError: They are no probabilities, or not one for each row.
        """
        values = numbers(probabilities, "probabilities")
        if not values.ndim or values.ndim > _TABLE or len(values) != rows:
            raise UsageError(f"probabilities: expected finite ({rows}, k), got {values.shape}")
        if not np.isfinite(values).all():
            raise UsageError(f"probabilities: expected finite ({rows}, k), got gaps among them")
        if values.ndim == 1 or values.shape[1] == 1:
            values = _both_classes(values.reshape(-1))
        if not _in_unit(values):
            raise UsageError(
                "probabilities: expected numbers from 0 to 1, got others; "
                "apply the softmax, or pass them as predictions="
            )
        make = _classes if _sums_to_one(values) else _labels
        schema = make(values.shape[1])
        return schema, schema.of_table(values)

    @classmethod
    def of_predictions(cls, predictions: Any, rows: int) -> tuple[AnswerSchema, Answered]:
        """The schema of other answers, one for each of n rows.

        Raises:
            UsageError: They cannot be read, or there is not one for each row.
        """
        found = answer_columns(predictions, parse="mostly")
        schema, table = InputSchema.fit(found, argument="predictions")
        if len(table) != rows:
            raise UsageError(f"predictions: expected {rows}, one for each row, got {len(table)}")
        made = cls(
            kind="values",
            labels=0,
            names=schema.names,
            categorical=schema.categorical,
            values=schema,
        )
        return made, Answered(table=table)

    def read(self, answers: Any, rows: int | None = None) -> Answered:
        """Answers of a call with so many rows, or of any number.

        Raises:
            UsageError: They are not of this schema.
        """
        if self.kind == "values":
            return Answered(table=self._values(answers, rows))
        values = np.asarray(numbers(answers, "answers"))
        if self.kind == "classes" and self.labels == _BINARY and _is_scalar(values, rows):
            values = _both_classes(values.reshape(-1))
        values = np.atleast_2d(values)
        if values.ndim != _TABLE or values.shape[1] != self.labels or not np.isfinite(values).all():
            raise UsageError(
                f"probabilities: expected (n, {self.labels}) finite numbers, got {values.shape}"
            )
        if not _in_unit(values) or (self.kind == "classes" and not _sums_to_one(values)):
            raise UsageError("probabilities: expected numbers from 0 to 1, got others")
        if rows is not None and len(values) != rows:
            raise UsageError(f"answers: expected {rows}, one for each row, got {len(values)}")
        return self.of_table(values)

    def of_table(self, values: Floats) -> Answered:
        """Features of checked probabilities `(n, k)`."""
        if self.kind == "labels":
            predicted = (values >= _CHOSEN).sum(axis=1)
            return Answered(table=np.column_stack([values, predicted]))
        confidence = np.column_stack([values.max(axis=1), values.argmax(axis=1)])
        return Answered(table=confidence, probabilities=values)

    def _values(self, answers: Any, rows: int | None) -> Floats:
        schema = self.values
        if schema is None:
            raise UsageError("answers: expected a schema of values")
        if _is_one(answers, schema):
            answers = [answers]
        parse: Parse = "always" if _VALID in schema.names else "no"
        table = schema.rows(answer_columns(answers, parse=parse))
        if rows is not None and len(table) != rows:
            raise UsageError(f"answers: expected {rows}, one for each row, got {len(table)}")
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = None if self.values is None else self.values.to_dict()
        return {
            "kind": self.kind,
            "labels": self.labels,
            "names": list(self.names),
            "values": values,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], categorical: Bools) -> AnswerSchema:
        """Rebuild a schema from untrusted values; raises `FormatRefused` or another error."""
        kind, labels = data["kind"], int(data["labels"])
        names = tuple(str(name) for name in data["names"])
        if kind == "values":
            values = InputSchema.from_dict(data["values"], names, categorical)
            return cls(kind="values", labels=0, names=names, categorical=categorical, values=values)
        if kind not in {"classes", "labels"} or not 1 <= labels <= _MOST_LABELS:
            raise FormatRefused("baseline: unknown kind of answers")
        made = _labels(labels) if kind == "labels" else _classes(labels)
        if made.names != names:
            raise FormatRefused("baseline: the names of the answers are not those of their kind")
        return made


def _is_one(answers: Any, schema: InputSchema) -> bool:
    """Whether a list or array is the answer to one input: a ranking, or several numbers."""
    if not isinstance(answers, (list, tuple, np.ndarray)) or not all(map(_is_item, answers)):
        return False
    if any(isinstance(encoder, ListEncoder) for _, encoder in schema.columns[:1]):
        return True
    return len(schema.columns) > 1 and len(answers) == len(schema.columns)


def _is_item(value: Any) -> bool:
    return isinstance(value, (str, int, float, np.generic))


def answer_columns(answers: Any, *, parse: Parse) -> Any:
    """Answers as a table of columns `prediction…`.

    Texts of JSON objects are parsed never, if most of them are objects, or always.
    """
    dense = as_dense(answers)
    if isinstance(dense, (bool, int, float, np.number)):
        dense = np.array([float(dense)])
    table = named_columns(dense)
    if table is None and isinstance(dense, (list, tuple)) and _of_lists(dense):
        return {_NAME: list(dense)}
    if table is None:
        return _numbered(np.asarray(dense))
    if list(table) != ["text"]:
        return {f"{_NAME}.{name}": values for name, values in table.items()}
    texts = list(table["text"])
    records = None if parse == "no" else _parsed(texts, always=parse == "always")
    if records is None:
        return {_NAME: texts}
    inner = named_columns(records) or {}
    return {f"{_NAME}.{name}": values for name, values in inner.items()}


def _numbered(values: Any) -> Any:
    if values.dtype.kind in "US":
        return {_NAME: values.reshape(-1)}
    if values.dtype.kind == "O":
        return {_NAME: list(values)}
    if values.ndim <= 1 or values.shape[1:] == (1,):
        return {_NAME: values.reshape(-1)}
    flat = values.reshape(len(values), -1)
    return {f"{_NAME}.{i}": flat[:, i] for i in range(flat.shape[1])}


def _of_lists(answers: Any) -> bool:
    """Whether answers are rankings: lists of items, of texts or of different lengths."""
    if not answers or not all(isinstance(each, (list, tuple)) for each in answers):
        return False
    sizes = {len(each) for each in answers}
    return len(sizes) > 1 or any(isinstance(item, str) for each in answers for item in each)


def _parsed(texts: list[Any], *, always: bool) -> list[Any] | None:
    """Records of texts that are JSON objects; an answer that is none becomes an empty record."""
    records = [_object(each) for each in texts]
    known = [each for each in records[:_LOOKED_AT] if each is not None]
    if not always and len(known) * 2 <= min(len(records), _LOOKED_AT):
        return None
    return [{"valid": each is not None, **(each or {})} for each in records]


def _object(text: Any) -> Mapping[str, Any] | None:
    if not isinstance(text, str) or len(text) > _LONGEST_JSON or not text.lstrip().startswith("{"):
        return None
    try:
        return parse_object(text.encode(), what="answer", error=FormatRefused)
    except (FormatRefused, UnicodeEncodeError):
        return None


def _classes(labels: int) -> AnswerSchema:
    codes = np.array([False, True])
    return AnswerSchema(kind="classes", labels=labels, names=CLASS_NAMES, categorical=codes)


def _labels(labels: int) -> AnswerSchema:
    names = (*(f"{_NAME}.label{i}" for i in range(labels)), f"{_NAME}.labels")
    codes = np.zeros(len(names), dtype=bool)
    return AnswerSchema(kind="labels", labels=labels, names=names, categorical=codes)


def _both_classes(positive: Floats) -> Floats:
    return np.column_stack([1.0 - positive, positive])


def _is_scalar(values: Floats, rows: int | None) -> bool:
    """Whether numbers are of the positive class alone, one a row."""
    if values.ndim == _TABLE:
        return bool(values.shape[1] == 1)
    if values.ndim == 0 or values.shape == (1,):
        return True
    if rows is None:
        return bool(values.shape != (_BINARY,))
    return bool(rows > 1 and values.shape == (rows,))


def _in_unit(values: Floats) -> bool:
    return bool(((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE)).all())


def _sums_to_one(values: Floats) -> bool:
    return bool((np.abs(values.sum(axis=1) - 1) <= _TOLERANCE).all())
