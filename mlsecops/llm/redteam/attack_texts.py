"""Texts of attempts: jailbreaks, demands, tasks, documents and benign questions.

`attack_texts.toml` → tables of strings with placeholders such as `{task}`, which `generator`,
`tasks` and `scenes` fill in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

_TABLE: Final[dict[str, Any]] = tomllib.loads(
    files("mlsecops.llm.redteam").joinpath("attack_texts.toml").read_text("utf-8")
)
TEXTS: Final[Mapping[str, list[str]]] = _TABLE["texts"]
TEXTS_BY_NAME: Final[Mapping[str, Mapping[str, list[str]]]] = _TABLE["texts_by_name"]
SCENES: Final[list[dict[str, Any]]] = _TABLE["scenes"]
