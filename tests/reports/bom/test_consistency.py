from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mlsecops.reports import lint_bom
from tests.attackers import reports as attack
from tests.reports.releases import Release

Bill = dict[str, Any]


def metric(bill: Bill) -> Bill:
    analysis = attack.model_of(bill)["modelCard"]["quantitativeAnalysis"]
    found: Bill = analysis["performanceMetrics"][0]
    return found


def edge(bill: Bill, reference: str) -> Bill:
    return next(row for row in bill["dependencies"] if row["ref"] == reference)


def prop(component: Bill, name: str) -> Bill:
    return next(row for row in component["properties"] if row["name"] == f"mlsecops:{name}")


NUMPY = "pkg:pypi/numpy@2.0.0"
CONTRADICTIONS: dict[str, tuple[str, Callable[[Bill], Any]]] = {
    "dependencies stated twice": (
        "duplicate-dependency", lambda b: b["dependencies"].append({"ref": NUMPY}),
    ),
    "its own dependency": (
        "self-dependency", lambda b: edge(b, NUMPY).update(dependsOn=[NUMPY]),
    ),
    "claim about nothing": (
        "dangling-ref",
        lambda b: b.update(declarations={"claims": [{"bom-ref": "c", "target": "nothing"}]}),
    ),
    "claim with absent evidence": (
        "dangling-ref",
        lambda b: b.update(declarations={"claims": [{"bom-ref": "c", "evidence": ["gone"]}]}),
    ),
    "accuracy above one": ("metric-range", lambda b: metric(b).update(value="1.2")),
    "accuracy below zero": ("metric-range", lambda b: metric(b).update(value="-0.1")),
    "percentage above a hundred": ("metric-range", lambda b: metric(b).update(value="120%")),
    "accuracy that is no number": ("metric-range", lambda b: metric(b).update(value="nan")),
    "crossed bounds": (
        "metric-interval",
        lambda b: metric(b).update(confidenceInterval={"lowerBound": "0.9", "upperBound": "0.1"}),
    ),
    "value outside its bounds": ("metric-interval", lambda b: metric(b).update(value="0.2")),
    "digests that disagree": (
        "hash-contradiction",
        lambda b: attack.model_of(b)["hashes"][0].update(content="ab" * 32),
    ),
    "two digests of one kind": (
        "hash-contradiction",
        lambda b: b["components"][0]["hashes"].append({"alg": "SHA-256", "content": "cd" * 32}),
    ),
    "version of another digest": (
        "hash-contradiction",
        lambda b: attack.model_of(b).update(version="sha256:abababababab"),
    ),
    "version of a data set with another digest": (
        "hash-contradiction",
        lambda b: next(c for c in b["components"] if c["type"] == "data").update(version="sha256:"),
    ),
    "number of parts that are not listed": (
        "parts-contradiction", lambda b: prop(attack.model_of(b), "parts").update(value="9"),
    ),
    "licence that does not parse": (
        "license-invalid",
        lambda b: b["components"][0].update(licenses=[{"expression": "MIT OR ("}]),
    ),
    "licence that nobody knows": (
        "license-invalid",
        lambda b: b["components"][0].update(licenses=[{"expression": "Foo-9 OR MIT"}]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_found(release: Release, name: str) -> None:
    rule, change = CONTRADICTIONS[name]
    bill = copy.deepcopy(release.bom())
    assert lint_bom(bill) == []
    change(bill)
    assert rule in {each.rule for each in lint_bom(bill)}


@pytest.mark.parametrize("value", ["0", "1.0", "93%", "0.97", "high"])
def test_a_share_in_its_range_is_left_alone(release: Release, value: str) -> None:
    bill = release.bom()
    metric(bill).update(value=value)
    metric(bill).pop("confidenceInterval")
    assert lint_bom(bill) == []
