"""Errors for missing optional packages."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mlsecops._extras import EXTRA_OF, require
from mlsecops.errors import MissingExtra

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_each_extra_that_is_named_exists() -> None:
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRA_OF.values()) <= set(extras)


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("skops.absent", 'pip install "mlsecops-sdk[sklearn]"'),
        ("opentelemetry.sdk.absent", 'pip install "mlsecops-sdk[otel]"'),
        ("absent_package.frame", "pip install absent_package"),  # no extra of ours brings it
    ],
)
def test_a_missing_module_names_the_command_that_brings_it(module: str, command: str) -> None:
    with pytest.raises(MissingExtra, match=r"is not installed; install it with: ") as caught:
        require(module)
    assert str(caught.value).endswith(command)
