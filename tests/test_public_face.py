"""The names that `import mlsecops` promises."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mlsecops


@pytest.mark.parametrize("name", mlsecops.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(mlsecops, name)
    assert value is not None
    assert value.__doc__


def test_dir_lists_every_public_name() -> None:
    assert set(mlsecops.__all__) <= set(dir(mlsecops))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = mlsecops.frobnicate  # type: ignore[attr-defined] # that is the point


def test_the_lazy_table_says_what_type_checkers_see() -> None:
    seen = {
        node.module: tuple(alias.name for alias in node.names)
        for block in ast.parse(Path(mlsecops.__file__).read_text()).body
        if isinstance(block, ast.If)
        and isinstance(block.test, ast.Name)
        and block.test.id == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert seen == mlsecops._HOMES


def test_all_is_the_table() -> None:
    named = [name for names in mlsecops._HOMES.values() for name in names]
    assert sorted(named) == sorted(mlsecops.__all__)
    assert len(set(named)) == len(named)
