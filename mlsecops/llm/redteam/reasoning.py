"""Reasoning that a model writes into its text in front of the answer.

text → answer without what stands between the marks of reasoning. An end mark without a start ends
reasoning that the chat template opened; a start mark without an end is reasoning to the end.

Source: templates of DeepSeek-R1, Qwen3, Magistral, Kimi and Seed on the Hugging Face Hub (marks);
OpenAI, "Harmony response format" (channels).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["without_reasoning"]

_NAMES: Final = "think|thinking|thought|thoughts|reasoning|reflection|seed:think|analysis"
_MARK: Final = re.compile(
    rf"(?P<start><(?:{_NAMES})>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>)"
    rf"|(?P<end></(?:{_NAMES})>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>)",
    flags=re.IGNORECASE,
)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w+)[^<]{0,200}<\|message\|>")
_SPECIAL: Final = re.compile(r"<\|(?:end|return|call|start)\|>")


def without_reasoning(text: str) -> tuple[str, bool]:
    """The answer in a text, and whether the text ends in the middle of reasoning.

    Examples:
        >>> without_reasoning("<think>They want the code.</think>No.")
        ('No.', False)
        >>> without_reasoning("<think>They want")
        ('', True)
    """
    if "<|channel|>" in text:
        return _final_channel(text)
    kept: list[str] = []
    place, inside = 0, False
    for mark in _MARK.finditer(text):
        if mark["start"] and not inside:
            kept.append(text[place : mark.start()])
            inside = True
        elif mark["end"]:
            if not inside:
                kept.clear()
            place, inside = mark.end(), False
    if not inside:
        kept.append(text[place:])
    return "".join(kept).strip() if place or inside else text, inside


def _final_channel(text: str) -> tuple[str, bool]:
    """What stands in the channel `final` of a text in the harmony format."""
    parts = list(_CHANNEL.finditer(text))
    ends = [*(part.start() for part in parts[1:]), len(text)]
    final = [
        _SPECIAL.split(text[part.end() : end])[0]
        for part, end in zip(parts, ends, strict=True)
        if part[1] == "final"
    ]
    return "\n".join(final).strip(), not final
