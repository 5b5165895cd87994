"""The layout of the package: rooms of a readable size, the field's words, constants with a unit."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "mlsecops").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
LINES = 400  # of a file at most
FILES = 20  # of a folder at most
QUESTION = re.compile(
    r"(?:What|How|Which|Whether|Whose?|Where|When|Why|Is|Are|Does|Did|Has|Can|By what|In which)\b"
)
BANNED = re.compile(
    r"\b(?:told|apart|beside|shadows?|planes?|counted|trails?|causes?|packing|packed|mend(?:s|ed|ing)?"
    r"|stands? twice)\b|\bclass \w*(?:Manager|Handler|Helper)\b",
    re.IGNORECASE,
)


def banned_in(text: str) -> list[str]:
    """Lines of a text that hold a banned word, with their numbers."""
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if BANNED.search(line)
    ]


def numbers_without_reason(source: str) -> Iterator[str]:
    """Numeric constants of a module with neither a comment nor a docstring."""
    lines, body = source.splitlines(), ast.parse(source).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not _is_number(node.value):
            continue
        described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        first, last = lines[max(node.lineno - 2, 0)], lines[(node.end_lineno or node.lineno) - 1]
        if not described and "#" not in last and not first.startswith("#"):
            yield lines[node.lineno - 1]


def _is_number(value: ast.expr | None) -> bool:
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    return isinstance(value, ast.Constant) and type(value.value) in {int, float}


@pytest.mark.parametrize("name", NAMES)
def test_a_module_opens_with_a_noun_phrase_and_uses_the_field_s_words(name: str) -> None:
    source = (ROOT / name).read_text("utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    assert first
    assert first.endswith("."), first
    assert not QUESTION.match(first), first
    assert not banned_in(source)
    assert source.count("\n") <= LINES


@pytest.mark.parametrize("name", NAMES)
def test_each_numeric_constant_says_its_unit_and_source(name: str) -> None:
    assert list(numbers_without_reason((ROOT / name).read_text("utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_field_s_words(page: Path) -> None:
    assert not banned_in(page.read_text("utf-8"))


def test_no_folder_outgrows_a_screen() -> None:
    sizes = Counter(path.parent for path in MODULES)
    assert {str(folder): size for folder, size in sizes.items() if size > FILES} == {}
    assert not {"utils", "helpers", "misc"} & {path.stem for path in MODULES}


def test_what_these_tests_look_for_is_found() -> None:
    assert banned_in("fine\nwhat is told of it\n") == ["2: what is told of it"]
    assert banned_in("class ThingManager:\n")
    assert not banned_in("besides, a planet causeway and untold amendments are fine\n")
    assert QUESTION.match("What a file holds.")
    assert list(numbers_without_reason("A = 3\nB: int = -2 * 4\nC = 5  # seconds; measured\n")) == [
        "A = 3",
        "B: int = -2 * 4",
    ]
