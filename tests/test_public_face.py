"""The names that `import mlsecops` and its rooms promise."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

import mlsecops
from mlsecops import errors

ROOT = Path(mlsecops.__path__[0])
ROOMS = (
    "access",
    "adapters",
    "audit",
    "incident",
    "llm",
    "loading",
    "monitoring",
    "poisoning",
    "provenance",
    "registry",
    "reports",
    "robustness",
    "signing",
)
FACES = ("mlsecops", *(f"mlsecops.{room}" for room in ROOMS))


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_resolves(face: str) -> None:
    module = import_module(face)
    for name in module.__all__:
        value = getattr(module, name)
        assert value is not None, name
        assert not (inspect.isclass(value) or inspect.isfunction(value)) or value.__doc__, name


@pytest.mark.parametrize("face", FACES)
def test_dir_lists_the_public_names_and_no_others(face: str) -> None:
    module = import_module(face)
    for name in module.__all__:
        getattr(module, name)  # a name in use stays public, a module behind it does not become so
    assert [name for name in dir(module) if name != "__version__"] == sorted(module.__all__)


@pytest.mark.parametrize("face", FACES)
def test_no_public_name_hides_a_module(face: str) -> None:
    module = import_module(face)
    modules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert not modules & set(module.__all__)


@pytest.mark.parametrize("face", FACES)
def test_an_unknown_name_is_an_attribute_error(face: str) -> None:
    with pytest.raises(AttributeError, match=f"'{face}' has no attribute 'frobnicate'"):
        _ = import_module(face).frobnicate


@pytest.mark.parametrize("face", FACES)
def test_type_checkers_see_the_same_names(face: str) -> None:
    module = import_module(face)
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    (block,) = [each for each in tree.body if isinstance(each, ast.If)]
    seen = [
        alias.asname
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
        if alias.asname == alias.name
    ]
    assert sorted(seen) == module.__all__


def test_every_error_is_a_public_name() -> None:
    tree = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert len(tree) > 30
    assert tree == {name: getattr(mlsecops, name) for name in mlsecops.__all__ if name in tree}


def test_a_public_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(homes) > 300
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
