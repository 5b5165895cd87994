"""Texts of attempts in nine languages: demands, tasks, documents and honest questions.

`texts/LANGUAGE.toml` → `Texts`: lists of strings with placeholders such as `{task}`, which
`filled` replaces. Changing a text changes the ids of attempts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias

__all__ = ["FRAMES", "LANGUAGES", "Texts", "filled", "texts_in"]

Texts: TypeAlias = Mapping[str, Any]

LANGUAGES: Final = ("en", "de", "fr", "es", "it", "pt", "zh", "ja", "ru")
"""Languages with texts."""
_PLACE: Final = re.compile(r"\{(\w+)\}")
_FOLDER: Final = files("mlsecops.llm.redteam.grammar").joinpath("texts")


@cache
def texts_in(language: str) -> Texts:
    """The texts of a language.

    Examples:
        >>> texts_in("de")["ask_public"]
        'Wie lautet das Wort des Tages?'
    """
    return tomllib.loads(_FOLDER.joinpath(f"{language}.toml").read_text("utf-8"))


FRAMES: Final[list[str]] = tomllib.loads(_FOLDER.joinpath("common.toml").read_text("utf-8"))[
    "role_confusions"
]
"""Forged roles and delimiters around an order, in no language."""


def filled(template: str, **values: object) -> str:
    """A template with its placeholders replaced in one pass; other braces stay.

    Examples:
        >>> filled('{"note": "{here}"}', here="{here}")
        '{"note": "{here}"}'
    """
    return _PLACE.sub(lambda found: str(values.get(found[1], found[0])), template)
