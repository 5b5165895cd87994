"""Doctests of every module."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import mlsecops

ROOT = Path(next(iter(mlsecops.__path__)))
# These import a framework, or belong to pytest.
FRAMEWORKS = ("adapters", "demo", "integrations", "pytest_plugin.py")


def modules() -> list[str]:
    """Modules with a doctest."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in FRAMEWORKS and ">>> " in path.read_text("utf-8"):
            found.append(".".join(("mlsecops", *path.relative_to(ROOT).with_suffix("").parts)))
    return found


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(import_module(name.removesuffix(".__init__")), verbose=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0
