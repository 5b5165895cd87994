"""Texts whose words are replaced from a user's list, and token ids likewise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mlsecops import Gate, evaluate_robustness
from mlsecops.adapters import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness import Square, WordSubstitution

GOOD, BAD = ["good", "great", "fine", "nice"], ["bad", "poor", "awful", "dull"]
SYNONYMS = {"good": ["fine", "dull"], "great": ["dull"], "bad": ["okay", "nice"], "poor": ["nice"]}


@pytest.fixture(scope="module")
def reviews() -> tuple[list[str], Any]:
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for _ in range(120):
        label = int(rng.integers(2))
        words = rng.choice(GOOD if label else BAD, 3)
        texts.append(
            f"The film was {words[0]}, {words[1]}. {words[2].title()} plot {rng.integers(9)}!"
        )
        labels.append(label)
    return texts, np.array(labels)


def test_words_of_the_list_are_replaced_and_nothing_else(reviews: Any) -> None:
    texts, y = reviews
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, y)
    attack = WordSubstitution(words=SYNONYMS, most=2)
    report = evaluate_robustness(model, texts, y, attack)
    assert report.clean.accuracy > 0.95
    assert report.worst.hits < report.clean.hits
    rows = range(len(texts)) if report.rows is None else report.rows
    for example, row in zip(report.worst.examples, rows, strict=True):
        before, after = texts[row].split(), example.split()
        changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert len(changed) <= 2
        for old, new in changed:
            assert new.strip(".,").lower() in SYNONYMS[old.strip(".,").lower()]
            assert new[0].isupper() == old[0].isupper()
    fooled = report.clean.correct & ~report.worst.correct
    assert (model.predict(list(report.worst.examples[fooled])) != y[list(rows)][fooled]).all()
    assert Gate(min_accuracy=1.0).judge(report).verdict == "fail"


def test_words_in_capitals_are_words_and_lists_that_fit_no_text_are_refused(reviews: Any) -> None:
    texts, y = reviews
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, y)
    found = [
        evaluate_robustness(model, texts, y, WordSubstitution(words=words, most=2)).worst.hits
        for words in (SYNONYMS, {key.title(): others for key, others in SYNONYMS.items()})
    ]
    assert found[0] == found[1]
    for words in ({"very good": ["bad"]}, {"excellent": ["bad"]}):
        with pytest.raises(UsageError, match="nothing would be replaced"):
            evaluate_robustness(model, texts, y, WordSubstitution(words=words))


def test_labels_alone_show_greedy_no_way_and_drawn_combinations_do() -> None:
    """Each of ten words may go; only three at once change the answer."""
    words = [f"w{number}" for number in range(10)]
    texts = [" ".join([*words, f"t{number}"]) for number in range(30)]

    def answer(given: list[str]) -> Any:
        gone = np.array([sum(word not in text.split() for word in words) for text in given])
        return np.eye(2)[(gone >= 3).astype(int)]

    attack = WordSubstitution(words={word: ["x", "y"] for word in words}, most=3)
    report = evaluate_robustness(answer, texts, np.zeros(30, int), attack)
    assert report.clean.accuracy == 1
    assert report.worst.accuracy == 0


def test_few_combinations_are_all_tried_and_greedy_finds_no_more(reviews: Any) -> None:
    """Two words flip a text together and neither alone: greedy stops, all combinations do not."""

    def score(texts: list[str]) -> Any:
        both = np.array([("x1" in t) + ("x2" in t) == 2 for t in texts])
        alone = np.array([("x1" in t) ^ ("x2" in t) for t in texts])
        right = np.where(both, 0.1, np.where(alone, 0.9, 0.8))
        return np.stack([1 - right, right], axis=1)

    words = {"a": ["x1"], "b": ["x2"]}
    one = evaluate_robustness(score, ["a b", "a c"], [1, 1], WordSubstitution(words=words, most=2))
    assert one.worst.hits == 1
    assert one.worst.examples.tolist()[0] == "x1 x2"
    limited = evaluate_robustness(score, ["a b"], [1], WordSubstitution(words=words, most=1))
    assert limited.worst.hits == 1
    assert reviews is not None


def test_token_ids_of_a_torch_model_are_replaced() -> None:
    torch.manual_seed(0)

    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = torch.nn.Embedding.from_pretrained(
                torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, -2.0], [0.0, -5.0]])
            )

        def forward(self, x: Any) -> Any:
            return self.score(x).sum(dim=1)

    x = np.array([[1, 1, 0], [1, 0, 0], [2, 0, 0]])
    attack = WordSubstitution(words={1: [3]}, most=1)
    report = evaluate_robustness(adapt(Bag(), output="logits"), x, [1, 1, 0], attack)
    assert report.clean.accuracy == 1
    assert report.worst.correct.tolist() == [False, False, True]
    assert (report.worst.examples[:2] == 3).sum() == 2


def test_texts_take_no_other_attack(reviews: Any) -> None:
    texts, y = reviews
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, y)
    attack = WordSubstitution(words=SYNONYMS)
    for data, attacks, message in (
        (texts, Square(0.1), "expected WordSubstitution"),
        (np.zeros((120, 3)), attack, "token ids"),
        (texts[:3], attack, "as many labels"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate_robustness(model, data, y, attacks)
    with pytest.raises(UsageError, match="words: expected a mapping"):
        WordSubstitution(words={"good": "fine"})
