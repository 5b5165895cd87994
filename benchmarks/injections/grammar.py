"""Seeded generator of distinct texts from a grammar."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Rules: TypeAlias = Mapping[str, Sequence[str]]

_HOLE = re.compile(r"\{(\w+)\}")


def texts(rules: Rules, start: str, *, count: int, seed: int) -> list[str]:
    """Draw up to `count` distinct texts of a rule."""
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    found: dict[str, None] = {}
    for _ in range(count * 20):
        found.setdefault(_expanded(rules, start, rng))
        if len(found) == count:
            break
    return list(found)


def _expanded(rules: Rules, start: str, rng: random.Random) -> str:
    text = rng.choice(rules[start])
    while hole := _HOLE.search(text):
        text = text[: hole.start()] + rng.choice(rules[hole[1]]) + text[hole.end() :]
    return text
