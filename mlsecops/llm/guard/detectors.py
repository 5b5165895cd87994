"""Detectors of prompt injection as callables, and adapters for those of others.

text → detector → score, truth, label with score, or `Detection` → `Signal` of a named detector

Source: model cards of Prompt Guard 2, PIGuard and deberta-v3-base-prompt-injection-v2 (labels);
llm-guard, `Scanner.scan` (result).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops.errors import InputRefused
from mlsecops.llm.guard.injection_detector import Detection, Signal, joined_detection

__all__ = ["Detector", "detect_with", "llm_guard_detector", "onnx_detector"]

Detector: TypeAlias = Callable[[str], Any]

_BENIGN: Final = frozenset({"benign", "safe", "legit", "label_0", "0", "negative", "no_injection"})
_TOKENS: Final = 512  # tokens that a classifier reads at once; of the models above


def detect_with(
    text: str, base: Detection, detectors: Iterable[Detector], *, threshold: float
) -> Detection:
    """The shipped detection joined with the answers of further detectors.

    Raises:
        InputRefused: A detector's answer is no score between 0 and 1.
    """
    signals = list(base.signals)
    for detector in detectors:
        name = str(getattr(detector, "__name__", type(detector).__name__))
        signals += _signals(detector(text), name)
    return joined_detection(signals, threshold=threshold, complete=base.complete)


def _signals(answer: Any, name: str) -> list[Signal]:
    if isinstance(answer, Detection):
        return list(answer.signals)
    score = _score(answer)
    if score is None or not 0 <= score <= 1:
        raise InputRefused(
            f"detector {name}: expected a score from 0 to 1, a truth value or a Detection, got "
            f"{type(answer).__name__}; what is not checked is refused"
        )
    return [Signal(name=name, weight=float(score))] if score else []


def _score(answer: Any) -> float | None:
    """A score of what detectors give: a number, a truth, `{"label", "score"}` or a list of it."""
    if isinstance(answer, (bool, int, float)):
        return float(answer)
    if isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], (Mapping, list)):
        found = [_score(each) for each in answer]
        known = [each for each in found if each is not None]
        return max(known) if len(known) == len(found) else None
    if isinstance(answer, Mapping) and isinstance(answer.get("score"), (int, float)):
        label = str(answer.get("label", "injection")).lower()
        return float(answer["score"]) if label not in _BENIGN else 1.0 - float(answer["score"])
    item = getattr(answer, "item", None)
    return float(item()) if callable(item) and getattr(answer, "size", 1) == 1 else None


@checked
def onnx_detector(
    model: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str],
    *,
    benign: int = 0,
    name: str = "onnx",
) -> Detector:
    """A detector from a text classifier in ONNX, such as an export of Prompt Guard or PIGuard.

    Args:
        model: `model.onnx`; verify it first, as any model.
        tokenizer: `tokenizer.json` of the same model.
        benign: Index of the class that means no injection; the others together are the score.
        name: Name of its signal.

    Raises:
        MissingExtra: onnxruntime or tokenizers is not installed.
    """
    runtime, numpy = require("onnxruntime"), require("numpy")
    words = require("tokenizers").Tokenizer.from_file(os.fspath(tokenizer))
    words.no_padding()
    words.no_truncation()
    session = runtime.InferenceSession(os.fspath(model), providers=["CPUExecutionProvider"])
    inputs = {each.name for each in session.get_inputs()}

    def detect(text: str) -> float:
        ids = words.encode(text).ids
        # Pieces overlap by half, so that no phrase falls between two of them.
        starts = range(0, max(len(ids) - _TOKENS // 2, 1), _TOKENS // 2)
        return max(scored(ids[start : start + _TOKENS]) for start in starts)

    def scored(ids: list[int]) -> float:
        row = numpy.array([ids], dtype=numpy.int64)
        fed = {"input_ids": row, "attention_mask": numpy.ones_like(row)}
        fed["token_type_ids"] = numpy.zeros_like(row)
        logits = session.run(None, {key: value for key, value in fed.items() if key in inputs})[0][
            0
        ]
        odds = numpy.exp(logits - logits.max())
        return float(1.0 - odds[benign] / odds.sum())

    detect.__name__ = name
    return detect


@checked
def llm_guard_detector(scanner: Any, *, name: str | None = None) -> Detector:
    """A detector from an input scanner of llm-guard, whose `scan` gives text, validity and risk."""

    def detect(text: str) -> float:
        _, valid, risk = scanner.scan(text)
        return min(max(float(risk), 0.0), 1.0) if valid else max(float(risk), 0.5)

    detect.__name__ = name or f"llm-guard-{type(scanner).__name__}"
    return detect
