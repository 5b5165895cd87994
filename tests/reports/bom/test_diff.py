"""Differences of two bills, each found by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from mlsecops.errors import FormatRefused
from mlsecops.reports import diff_boms
from tests.attackers.reports import Bom
from tests.reports.releases import Release


def newer(bom: Bom) -> Bom:
    changed = copy.deepcopy(bom)
    [package, *_] = [each for each in changed["components"] if each["type"] == "library"]
    package["version"] = "99"
    return changed


def relicensed(bom: Bom) -> Bom:
    changed = copy.deepcopy(bom)
    changed["components"][0]["licenses"] = [{"license": {"id": "GPL-3.0-only"}}]
    return changed


def retrained(bom: Bom) -> Bom:
    changed = copy.deepcopy(bom)
    inputs = changed["formulation"][0]["workflows"][0]["inputs"]
    inputs.append({"parameters": [{"name": "extra", "value": "1"}]})
    return changed


def without_data(bom: Bom) -> Bom:
    kept = [each for each in bom["components"] if each["type"] != "data"]
    return {**bom, "components": kept}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (newer, {"version"}),
        (relicensed, {"licence"}),
        (retrained, {"hyperparameter"}),
        (without_data, {"component", "version", "digest"}),
    ],
)
def test_a_change_is_found_and_nothing_else(
    release: Release, change: Callable[[Bom], Bom], what: set[str]
) -> None:
    bom = release.bom()
    changes = diff_boms(bom, change(bom))
    assert {each.what for each in changes} == what
    back = diff_boms(change(bom), bom)
    assert {(each.old, each.new) for each in back} == {(each.new, each.old) for each in changes}


def test_times_serial_numbers_and_order_are_no_changes(release: Release) -> None:
    bom = release.bom()
    other = {**bom, "serialNumber": "urn:uuid:0", "components": bom["components"][::-1]}
    assert diff_boms(bom, other) == ()


MALFORMED: list[Bom] = [
    {"components": None},
    {"components": ["x"]},
    {"components": [{"licenses": [{"license": None}]}]},
    {"formulation": [{"workflows": [{"inputs": [{"parameters": [None]}]}]}]},
]


@pytest.mark.parametrize("bom", MALFORMED)
def test_a_malformed_bill_is_refused_by_its_argument(bom: Bom) -> None:
    with pytest.raises(FormatRefused, match="new: expected a CycloneDX bill"):
        diff_boms({}, bom)
