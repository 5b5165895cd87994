"""Word substitution: texts or token ids whose words are replaced from a list of the user's.

texts, words → choices of each position (`tasks.texts`) → all combinations, or greedy → examples

Source: Ren et al., "Generating natural language adversarial examples through probability weighted
word saliency" (2019), the greedy search over substitutions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np

from mlsecops._choices import checked, whole
from mlsecops._repr import concise_repr
from mlsecops.adapters.base import in_batches
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.losses import margins

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.robustness.attacks.ball import Bounds, Norm
    from mlsecops.robustness.attacks.base import Progress

_ALL: Final = 256  # combinations of a text; chosen: so many are tried one by one


class WordChoices(Protocol):
    """Encoded texts: a row's number, and for each position the number of its replacement."""

    def counts(self, row: int, words: Mapping[Any, Sequence[Any]]) -> list[list[int]]:
        """Replacements of each position of a text that stand in `words`, by number."""


@concise_repr("most")
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class WordSubstitution:
    """Replacement of words by others that the user lists for them.

    Attributes:
        words: Word (in lower case) or token id → what may stand for it. Only these replacements are
            tried: whether they keep the meaning is the user's to say.
        most: Most words of a text that are replaced.

    Examples:
        >>> WordSubstitution(words={"good": ["fine", "decent"]}, most=2).name
        'words'
    """

    words: Mapping[Any, Sequence[Any]]
    most: int = 3

    needs_gradients: ClassVar[bool] = False
    name: ClassVar[str] = "words"

    def __post_init__(self) -> None:
        whole("most", self.most, "a number of words of at least 1")
        if not self.words or any(isinstance(each, str) for each in self.words.values()):
            raise UsageError("words: expected a mapping from a word to a list of replacements")

    @property
    def norm(self) -> Norm:
        """Not a ball; see `eps`."""
        return "linf"

    @property
    def eps(self) -> float:
        """Infinite: the list limits the attack, not a distance."""
        return math.inf

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"most": self.most, "words": len(self.words)}

    def perturb(
        self,
        adapter: Adapter,
        x: Array,
        y: Labels,
        *,
        seed: int,
        bounds: Bounds,  # noqa: ARG002 - the list is the limit
        batch_size: int = 256,
        index: Labels | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Search for an adversarial example of each text; see `Attack.perturb`.

        All combinations are tried where there are at most 256, else the best replacement is kept
        word by word, and where that fails as many combinations are drawn: scores that do not change
        with one word, such as labels alone, show no way.
        """
        texts, examples = _choices_of(adapter), x.copy()
        places = np.arange(len(x)) if index is None else index
        for number in range(len(x)):
            choices = texts.counts(int(x[number, 0]), self.words)
            score = _Scores(adapter, x[number], int(y[number]), batch_size)
            if self._combinations(choices) <= _ALL:
                examples[number] = _every(score, choices, self.most)
            else:
                rng = np.random.default_rng([seed, 9, int(places[number])])
                examples[number] = _searched(score, choices, self.most, rng)
            if progress is not None:
                progress(number + 1, len(x))
        return examples

    def _combinations(self, choices: list[list[int]]) -> int:
        """Number of ways to replace at most `most` words, as far as it matters."""
        ways = [1] + [0] * self.most
        for each in choices:
            for used in range(self.most, 0, -1):
                ways[used] = min(ways[used] + ways[used - 1] * len(each), _ALL + 1)
        return sum(ways)


class _Scores:
    """Margins of one text's variants."""

    def __init__(self, adapter: Adapter, row: Array, label: int, size: int) -> None:
        self.row, self._adapter, self._label, self._size = row, adapter, label, size

    def margins(self, rows: Sequence[Array]) -> Any:
        """Score of the label less the best other, for each variant."""
        stacked = np.stack(rows)
        logits = in_batches(self._adapter.logits, stacked, size=self._size)
        return margins(logits, np.full(len(rows), self._label))


def _every(score: _Scores, choices: list[list[int]], most: int) -> Array:
    """The best of all combinations."""
    rows = list(_combined(score.row, choices, most))
    best: Array = rows[int(score.margins(rows).argmin())]
    return best


def _combined(row: Array, choices: list[list[int]], most: int) -> Iterator[Array]:
    free = [position for position, each in enumerate(choices) if each]
    yield row.copy()
    for size in range(1, min(most, len(free)) + 1):
        for places in itertools.combinations(free, size):
            for picked in itertools.product(*(choices[place] for place in places)):
                changed = row.copy()
                for place, number in zip(places, picked, strict=True):
                    changed[1 + place] = number
                yield changed


def _searched(
    score: _Scores, choices: list[list[int]], most: int, rng: np.random.Generator
) -> Array:
    """The best word by word, or of combinations that are drawn."""
    row = _greedy(score, choices, most)
    drawn = [row, *(_drawn(score.row, choices, most, rng) for _ in range(_ALL))]
    if float(score.margins([row])[0]) < 0:
        return row
    return drawn[int(score.margins(drawn).argmin())]


def _drawn(row: Array, choices: list[list[int]], most: int, rng: np.random.Generator) -> Array:
    """As many replacements as there may be, at random."""
    changed = row.copy()
    free = [place for place, each in enumerate(choices) if each]
    for place in rng.permutation(free)[:most].tolist():
        changed[1 + place] = rng.choice(choices[place])
    return changed


def _greedy(score: _Scores, choices: list[list[int]], most: int) -> Array:
    """One word at a time: the replacement that lowers the margin most."""
    row, margin = score.row.copy(), float(score.margins([score.row])[0])
    for _ in range(most):
        rows = []
        for place, numbers in enumerate(choices):
            for number in numbers if row[1 + place] == 0 else ():
                changed = row.copy()
                changed[1 + place] = number
                rows.append(changed)
        if not rows or margin < 0:
            break
        found = score.margins(rows)
        best = int(found.argmin())
        if found[best] >= margin:
            break
        row, margin = rows[best], float(found[best])
    return row


def _choices_of(adapter: Any) -> WordChoices:
    """The encoded texts behind an Adapter."""
    while adapter is not None:
        texts = getattr(adapter, "texts", None)
        if texts is not None:
            return texts  # type: ignore[no-any-return]
        adapter = getattr(adapter, "inner", None)
    raise UsageError("words: expected texts or token ids, got other inputs")
