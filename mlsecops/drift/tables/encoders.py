"""Encoders of one column: numbers, categories, free texts and lists as features.

    reference column → `column_kinds` → Encoder.encode(later column) → float64 (n, f)

NaN is a missing value, and `UNSEEN` a category that the reference does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from mlsecops.drift.inputs import Floats
from mlsecops.drift.tables import texts
from mlsecops.drift.tables.dates import DateEncoder
from mlsecops.drift.tables.values import is_absent
from mlsecops.errors import FormatRefused, UsageError

UNSEEN: Final = -1.0  # code of a category that the reference does not have
MOST_CATEGORIES: Final = 255  # categories; chosen: as many bins are cheap, the rest is unseen
MOST_NUMBERS: Final = 4096  # numbers of a list; chosen: bounds the features of one column


class Encoder(Protocol):
    """Reads a column as features, whose suffix is `""` for the column itself."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`; raises `UsageError` if it cannot be read."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


@dataclass(frozen=True, slots=True)
class NumberEncoder:
    """Numbers, booleans, decimals and durations (seconds)."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return ("",)

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (False,)

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        array = np.asarray(values)
        if array.dtype.kind in "biuf":
            return array.astype(np.float64).reshape(-1, 1)
        if array.dtype.kind == "m":
            return (array.astype("timedelta64[ns]").astype(np.float64) / 1e9).reshape(-1, 1)
        return np.array([_number(each) for each in values], dtype=np.float64).reshape(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "number"}


@dataclass(frozen=True, slots=True)
class CategoryEncoder:
    """Texts of a vocabulary; a feature of codes."""

    vocabulary: tuple[str, ...]

    @classmethod
    def fit(cls, present: Sequence[Any]) -> CategoryEncoder:
        """The most frequent values of the reference."""
        counts = Counter(map(str, present))
        return cls(tuple(name for name, _ in counts.most_common(MOST_CATEGORIES)))

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return ("",)

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (True,)

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        places = {name: float(place) for place, name in enumerate(self.vocabulary)}
        coded = [np.nan if is_absent(each) else places.get(str(each), UNSEEN) for each in values]
        return np.array(coded, dtype=np.float64).reshape(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "category", "vocabulary": list(self.vocabulary)}


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoder:
    """Free texts: length, shares of letters and digits, surprise (bits a character), script."""

    bits: Floats
    scripts: CategoryEncoder

    @classmethod
    def fit(cls, present: Sequence[str]) -> TextEncoder:
        """A bigram model and the scripts of the reference."""
        return cls(texts.bigrams(present), CategoryEncoder.fit([texts.script(t) for t in present]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return (*(f".{name}" for name in texts.NUMBERS), ".script")

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (*(False for _ in texts.NUMBERS), True)

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        written = [None if is_absent(each) else str(each) for each in values]
        gap = (np.nan,) * len(texts.NUMBERS)
        table = [gap if each is None else texts.features(each, self.bits) for each in written]
        scripts = [None if each is None else texts.script(each) for each in written]
        numbers = np.array(table, dtype=np.float64).reshape(-1, len(texts.NUMBERS))
        return np.column_stack([numbers, self.scripts.encode(scripts)])

    def encode_reference(self, values: Any) -> Floats:
        """As `encode`, for the reference: its texts must not seem more usual than later ones."""
        table = self.encode(values)
        present = [place for place, each in enumerate(values) if not is_absent(each)]
        place = texts.NUMBERS.index("surprise")
        table[present, place] = texts.held_out([str(values[each]) for each in present])
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "kind": "text",
            "bits": self.bits.ravel().tolist(),
            "scripts": list(self.scripts.vocabulary),
        }


@dataclass(frozen=True, slots=True)
class VectorEncoder:
    """Lists of equally many numbers, such as embeddings: a feature for each place."""

    width: int

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return tuple(f".{place}" for place in range(self.width))

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (False,) * self.width

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        table = np.full((len(values), self.width), np.nan)
        for row, each in zip(table, values, strict=True):
            if not is_absent(each):
                found = np.asarray(each, dtype=np.float64).ravel()
                row[: len(found)] = found[: self.width] if len(found) == self.width else np.nan
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "vector", "width": self.width}


@dataclass(frozen=True, slots=True)
class ListEncoder:
    """Lists of items, such as rankings: their number, and the first and last as categories."""

    first: CategoryEncoder
    last: CategoryEncoder

    @classmethod
    def fit(cls, present: Sequence[Any]) -> ListEncoder:
        """The usual first and last items."""
        ends = [(each[0], each[-1]) for each in present if len(each)]
        return cls(*(CategoryEncoder.fit([pair[i] for pair in ends]) for i in (0, 1)))

    @property
    def parts(self) -> tuple[str, ...]:
        """Suffix of each feature."""
        return (".length", ".first", ".last")

    @property
    def codes(self) -> tuple[bool, ...]:
        """Whether each feature is a code without order."""
        return (False, True, True)

    def encode(self, values: Any) -> Floats:
        """Features `(n, f)` of a column `(n,)`."""
        lists = [None if is_absent(each) else each for each in values]
        sizes = [np.nan if each is None else float(len(each)) for each in lists]
        ends = [
            column.encode(
                [each[place] if each is not None and len(each) else None for each in lists]
            )
            for column, place in ((self.first, 0), (self.last, -1))
        ]
        return np.column_stack([np.array(sizes, dtype=np.float64), *ends])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ends = {"first": list(self.first.vocabulary), "last": list(self.last.vocabulary)}
        return {"kind": "list"} | ends


def _number(value: Any) -> float:
    if is_absent(value):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"expected a number, got {type(value).__name__}") from None


def encoder_from_dict(data: dict[str, Any]) -> Encoder:
    """Rebuild an encoder from untrusted values; raises `FormatRefused`, `KeyError` or so."""
    kind = data["kind"]
    if kind == "number":
        return NumberEncoder()
    if kind == "date":
        return DateEncoder()
    if kind == "category":
        return _vocabulary(data["vocabulary"])
    if kind == "vector" and type(data["width"]) is int and 0 < data["width"] <= MOST_NUMBERS:
        return VectorEncoder(data["width"])
    if kind == "list":
        return ListEncoder(_vocabulary(data["first"]), _vocabulary(data["last"]))
    if kind == "text":
        bits = np.array(data["bits"], dtype=np.float64).reshape(texts.CLASSES, texts.CLASSES)
        if not np.isfinite(bits).all():
            raise FormatRefused("baseline: a text column has no finite bigrams")
        return TextEncoder(bits, _vocabulary(data["scripts"]))
    raise FormatRefused(f"baseline: unknown kind of column {str(kind)[:40]!r}")


def _vocabulary(names: Any) -> CategoryEncoder:
    if not isinstance(names, list) or len(names) > MOST_CATEGORIES:
        raise FormatRefused(f"baseline: expected at most {MOST_CATEGORIES} categories")
    return CategoryEncoder(tuple(str(name) for name in names))
