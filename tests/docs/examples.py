"""Runnable parts of a Markdown page: Python blocks and command lines, except make's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)\s*$")
_EXEMPT = re.compile(r"^<!-- no-run: (.+) -->$")
_COMMAND = re.compile(r"^(?:\$ (?!make )|(?=mlsecops ))(.*?)(?:\s+# exit (\d+).*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to run.

    Attributes:
        kind: A block of Python, or one command line.
        text: The code or the command.
        line: Where it stands in the page, from 1.
        status: Exit status that the page promises, for a command.
    """

    kind: Literal["python", "command"]
    text: str
    line: int
    status: int = 0


def steps(page: str) -> Iterator[Step]:
    """Everything that a page's reader may run, in order."""
    for language, first, block, exempt in _blocks(page.splitlines()):
        if exempt:
            continue
        if language == "python":
            yield Step(kind="python", text="\n".join(block), line=first)
        elif language in {"console", "bash"}:
            for number, line in enumerate(block, start=first):
                found = _COMMAND.match(line)
                if found:
                    status = int(found[2] or 0)
                    yield Step(kind="command", text=found[1], line=number, status=status)


def _blocks(lines: list[str]) -> Iterator[tuple[str, int, list[str], bool]]:
    """Language, first line, lines and exemption of each fenced block."""
    language: str | None = None
    block: list[str] = []
    first, exempt = 0, False
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, block, first = fence[1], [], number + 1
        elif language is not None and line.strip() == "```":
            yield language, first, block, exempt
            language, exempt = None, False
        elif language is not None:
            block.append(line)
        elif line.strip():
            exempt = _EXEMPT.match(line) is not None
    if language is not None:
        raise ValueError(f"the block at line {first} has no end")
