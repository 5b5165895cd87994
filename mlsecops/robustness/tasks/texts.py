"""Texts and token ids in an evaluation: words that may be replaced, as numbers.

texts, attacks → `TextProblem`: a row's number and one number for each position → attacks
encoded rows → `Texts.decoded` → texts → the caller's model
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops.adapters import adapt
from mlsecops.adapters.sklearn import SklearnAdapter
from mlsecops.adapters.wrapper import Wrapped
from mlsecops.errors import UsageError
from mlsecops.provenance import Digest, hash_dataset
from mlsecops.robustness.attacks.words import WordSubstitution
from mlsecops.robustness.report import RobustnessReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlsecops.adapters.base import Adapter, Array
    from mlsecops.robustness.attacks.ball import Bounds
    from mlsecops.robustness.attacks.base import Attack

_WORD: Final = re.compile("\\w+(?:['\u2019-]\\w+)*")
_METHODS: Final = frozenset({"predict_proba", "decision_function", "predict"})


class Texts:
    """Texts, or rows of token ids, cut where a word may be replaced.

    Args:
        given: Texts, or token ids `(n, length)`.
        words: What may stand for each word, of all attacks.
    """

    def __init__(self, given: Any, words: Mapping[Any, Sequence[Any]]) -> None:
        self._given, self._words = given, words
        self._ids = not isinstance(given[0], str)
        self._spans = [self._replaceable(text) for text in given]
        self.width = max(map(len, self._spans), default=0)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def encoded(self) -> Array:
        """Rows without a replacement."""
        x = np.zeros((len(self), 1 + max(self.width, 1)), dtype=np.float32)
        x[:, 0] = np.arange(len(x))
        return x

    @property
    def bounds(self) -> Bounds:
        """Smallest and largest number of each column."""
        most = max((len(each) for each in self._words.values()), default=1)
        high = np.full(1 + max(self.width, 1), float(most))
        high[0] = max(len(self) - 1, 1)
        return np.zeros_like(high), high

    def counts(self, row: int, words: Mapping[Any, Sequence[Any]]) -> list[list[int]]:
        """Numbers of the replacements that one attack may use, by position."""
        own = _by_key([words])
        return [
            [n for n, other in enumerate(self._words[key], 1) if other in own.get(key, ())]
            for _, key in self._spans[row]
        ]

    def decoded(self, x: Array) -> Any:
        """Texts (a list) or token ids (an array) of encoded rows."""
        made = [self._replaced(int(row[0]), np.rint(row[1:]).astype(int)) for row in x]
        return np.stack(made) if self._ids else made

    def _replaceable(self, text: Any) -> list[tuple[Any, Any]]:
        """Place and word of each position that has replacements."""
        if self._ids:
            return [(i, token) for i, token in enumerate(text.tolist()) if token in self._words]
        found = [(match.span(), match.group().lower()) for match in _WORD.finditer(text)]
        return [(span, word) for span, word in found if word in self._words]

    def _replaced(self, row: int, numbers: NDArray[np.int64]) -> Any:
        text = self._given[row].copy() if self._ids else self._given[row]
        spans = list(zip(self._spans[row], numbers.tolist(), strict=False))
        for (span, key), number in reversed(spans):
            if not 0 < number <= len(self._words[key]):
                continue
            other = self._words[key][number - 1]
            if self._ids:
                text[span] = other
            else:
                start, end = span
                first = text[start]
                other = other[:1].upper() + other[1:] if first.isupper() else other
                text = f"{text[:start]}{other}{text[end:]}"
        return text


class _TextModel:
    """A model of texts that takes encoded rows."""

    def __init__(self, model: Any, texts: Texts) -> None:
        self.inner, self._texts = model, texts
        self.classes_ = getattr(model, "classes_", None)

    def __getattr__(self, name: str) -> Any:
        if name not in {"predict_proba", "decision_function", "predict"} or "inner" not in vars(
            self
        ):
            raise AttributeError(name)
        if not hasattr(self.inner, "predict") and callable(self.inner) and name == "predict_proba":
            return lambda x: np.asarray(self.inner(self._texts.decoded(x)))
        method = getattr(self.inner, name)
        return lambda x: np.asarray(method(self._texts.decoded(x)))


class _TextAdapter(SklearnAdapter):
    """The Adapter of a model of texts: scikit-learn's methods, or a function."""

    texts: Texts


class _TokenAdapter(Wrapped):
    """The Adapter of a model of token ids."""

    __slots__ = ("texts",)
    texts: Texts

    def _forwarded(self, x: Array) -> Any:
        return self.texts.decoded(x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextProblem:
    """An evaluation of texts or token ids.

    Attributes:
        model: The caller's model.
        texts: The distinct texts.
        y: Their labels `(n,)`.
        kept: Place of each distinct text among those given `(n,)`.
        given: Texts given.
        digest: Digest of all texts and labels.
    """

    model: Any
    texts: Texts
    y: NDArray[Any]
    kept: NDArray[np.int64]
    given: int
    digest: Digest
    table: None = None

    @property
    def x(self) -> Array:
        """Encoded rows."""
        return self.texts.encoded

    @property
    def bounds(self) -> Bounds:
        """Bounds of the encoded rows."""
        return self.texts.bounds

    def adapter(self) -> Adapter:
        """The model as an Adapter of encoded rows."""
        plain = hasattr(self.model, "predict") and not hasattr(self.model, "forward")
        if plain or (callable(self.model) and not hasattr(self.model, "forward")):
            made: Any = _TextAdapter(_TextModel(self.model, self.texts))
        else:
            made = _TokenAdapter(inner=adapt(self.model))
            made.differentiable = False
        made.texts = self.texts
        return made  # type: ignore[no-any-return]

    def prover(self) -> None:
        """Nothing is proven about texts."""

    def attacks(self, attacks: Sequence[Attack]) -> Sequence[Attack]:
        """The attacks as they are."""
        return attacks

    def restored(self, report: RobustnessReport) -> RobustnessReport:
        """The report with texts as examples."""

        def shown(examples: Array) -> Any:
            texts = self.texts.decoded(examples)
            return np.array(texts, dtype=object) if isinstance(texts, list) else texts

        return report.of_caller(self.model, shown, kept=self.kept, given=self.given)


def text_problem(model: Any, x: Any, y: Any, attacks: Sequence[Any]) -> TextProblem | None:
    """The evaluation of texts, or of token ids under word substitution; None for other inputs.

    Args:
        model: The caller's model: scikit-learn's methods on a list of texts, a function from texts
            to scores `(n, k)`, or for token ids a framework's model.
        x: Texts, or token ids `(n, length)`.
        y: Labels `(n,)`.
        attacks: Attacks; of texts they are all `WordSubstitution`.

    Raises:
        UsageError: Texts and another attack, or texts and labels that differ in number.
    """
    listed = x.tolist() if hasattr(x, "tolist") and getattr(x, "ndim", 0) == 1 else x
    texts = isinstance(listed, (list, tuple)) and bool(listed) and isinstance(listed[0], str)
    words = [isinstance(each, WordSubstitution) for each in attacks]
    if not texts and not any(words):
        return None
    if not all(words):
        other = next(each for each, word in zip(attacks, words, strict=True) if not word)
        raise UsageError(
            f"attacks: {getattr(other, 'name', other)!r} changes numbers, which texts are not: "
            "expected WordSubstitution for texts, and only for texts or token ids"
        )
    given: Any = list(listed) if texts else np.asarray(x)
    if not texts and (given.ndim != 2 or given.dtype.kind not in "iu"):  # noqa: PLR2004 - (n, length)
        raise UsageError("x: expected texts, or token ids (n, length), for WordSubstitution")
    labels = np.asarray(y)
    if labels.shape != (len(given),) or not all(isinstance(t, str) for t in given if texts):
        raise UsageError(f"expected {len(given)} texts and as many labels, got y {labels.shape}")
    kept = _distinct(given, labels)
    found = Texts([given[number] for number in kept], _by_key([each.words for each in attacks]))
    if not found.width:
        raise UsageError(
            f"words: expected single words or token ids that stand in x, got none of them in any "
            f"of {len(given)}: nothing would be replaced"
        )
    return TextProblem(
        model=model, texts=found, y=labels[kept], kept=kept, given=len(given),
        digest=hash_dataset({"x": np.asarray(given), "y": labels}, name="evaluation").root,
    )  # fmt: skip


def _by_key(lists: Sequence[Mapping[Any, Sequence[Any]]]) -> dict[Any, list[Any]]:
    """All replacements of each word, which is in lower case here, or token id."""
    merged: dict[Any, list[Any]] = {}
    for words in lists:
        for key, others in words.items():
            known = merged.setdefault(key.lower() if isinstance(key, str) else key, [])
            known += [each for each in others if each not in known]
    return merged


def _distinct(given: Any, y: NDArray[Any]) -> NDArray[np.int64]:
    seen: dict[Any, int] = {}
    for number, (text, label) in enumerate(zip(given, y.tolist(), strict=True)):
        key = text if isinstance(text, str) else text.tobytes()
        seen.setdefault((key, label), number)
    return np.array(list(seen.values()), dtype=np.int64)
