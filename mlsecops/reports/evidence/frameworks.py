"""Frameworks whose requirements a delivery is mapped to, one TOML file each.

name of a framework → title, source and requirements, each with the evidence that may answer it
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from mlsecops._choices import one_of

FRAMEWORKS: Final = ("eu-ai-act", "nist-ai-rmf", "iso-42001")
"""Names of the frameworks, as `deliver --framework` takes them."""


@dataclass(frozen=True, slots=True)
class FrameworkRow:
    """A requirement of a framework.

    Attributes:
        number: Its number in the framework.
        text: What it demands, in our own words.
        evidence: Names of evidence that may answer it, the best first; empty where no tool can.
    """

    number: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework with its requirements.

    Attributes:
        name: One of `FRAMEWORKS`.
        title: Name for people.
        source: Public address of its text.
        requirements: In the order of their numbers.
    """

    name: str
    title: str
    source: str
    requirements: tuple[FrameworkRow, ...]


@cache
def read_framework(name: str) -> Framework:
    """Read a framework.

    Raises:
        UsageError: The name is none of `FRAMEWORKS`.

    Examples:
        >>> read_framework("iso-42001").requirements[0].number
        'A.2.2'
    """
    place = f"{one_of('framework', name, FRAMEWORKS).replace('-', '_')}.toml"
    text = files("mlsecops.reports.evidence").joinpath(place).read_text("utf-8")
    value = tomllib.loads(text)
    rows = tuple(
        FrameworkRow(row["number"], row["requirement"], tuple(row["evidence"]))
        for row in value["rows"]
    )
    return Framework(name, value["title"], value["source"], rows)
