"""Errors for missing optional packages."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mlsecops._extras import EXTRA_OF, require
from mlsecops.errors import MissingExtra

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"


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


def test_versions_in_all_fit_each_other() -> None:
    """A resolver that searches, as pip 23 does, finds no end among versions of boto3."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    [bound] = [each for each in project["optional-dependencies"]["all"] if "boto3" in each]
    assert Requirement(bound).specifier.contains(version("boto3"))
    needs = [Requirement(each) for each in requires("aiobotocore") or ()]
    [botocore] = [each for each in needs if each.name == "botocore"]
    newest = Version(str(Requirement(bound).specifier).partition("<")[2].partition(",")[0])
    assert botocore.specifier.contains(version("botocore"))
    assert not botocore.specifier.contains(newest), "widen the bound of boto3 in 'all'"


def test_the_lock_pins_what_every_extra_asks_for_and_names_no_place() -> None:
    lines = (ROOT / ".ci/constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all(pin.url is None and str(pin.specifier).startswith("==") for pin in pins)
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *chain.from_iterable(project["optional-dependencies"].values()),
    ]
    needed = {
        canonicalize_name(each.name)
        for each in map(Requirement, asked)
        if each.marker is None or each.marker.evaluate()
    }
    assert needed - {"mlsecops-sdk"} <= {canonicalize_name(pin.name) for pin in pins}
