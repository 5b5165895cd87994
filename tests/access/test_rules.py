"""Groups, times and conditions of rules, and explanations."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlsecops.access import AccessPolicy, Rule, acting_as, requires
from mlsecops.errors import AccessDenied, UsageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOML = """
[groups]
fraud-team = ["ann", "team/fraud/*"]

[[rules]]
subject = "group:fraud-team"
action = "dataset:read"
resource = "payments/**"
effect = "allow"
not_before = 2026-01-01T00:00:00Z
not_after = "2026-12-31T00:00:00+00:00"

[rules.conditions]
purpose = ["training", "audit"]
rows = { max = 1000 }

[[rules]]
subject = "*"
action = "*"
resource = "payments/hr/**"
effect = "deny"

[rules.conditions]
cleared = false
"""
POLICY = AccessPolicy.parse(TOML)
GOOD: dict[str, Any] = {"purpose": "audit", "rows": 10, "cleared": True}


def allowed(subject: str = "ann", resource: str = "payments/2026", **given: Any) -> bool:
    attributes = {**GOOD, **given}
    return POLICY.decide(
        subject, "dataset:read", resource,
        attributes={key: value for key, value in attributes.items() if value is not None}, at=NOW,
    ).allowed  # fmt: skip


def test_a_group_is_its_members() -> None:
    members = {who: allowed(who) for who in ("ann", "team/fraud/bob", "team/other/eve", "group")}
    assert members == {"ann": True, "team/fraud/bob": True, "team/other/eve": False, "group": False}
    assert not allowed("group:fraud-team")


def test_a_rule_has_its_time() -> None:
    for days, holds in ((-60, False), (-59, True), (304, True), (305, False)):
        decision = POLICY.decide(
            "ann", "dataset:read", "payments/2026", attributes=GOOD, at=NOW + timedelta(days=days)
        )
        assert decision.allowed is holds, days
    assert "out of its time" in decision.reason


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ({}, True),
        ({"purpose": "training"}, True),
        ({"purpose": "marketing"}, False),
        ({"purpose": None}, False),
        ({"rows": 1001}, False),
        ({"rows": "10"}, False),
        ({"rows": True}, False),
        ({"rows": float("nan")}, False),
        ({"purpose": ["audit"]}, False),
    ],
)
def test_an_allow_rule_needs_every_condition(given: dict[str, Any], holds: bool) -> None:  # noqa: FBT001 - a table
    assert allowed(**given) is holds


def test_what_is_not_said_does_not_pass_a_denial() -> None:
    assert allowed(resource="payments/hr/2026")
    assert not allowed(resource="payments/hr/2026", cleared=False)
    assert not allowed(resource="payments/hr/2026", cleared=None)


def test_an_explanation_says_what_of_each_rule_fits() -> None:
    found = POLICY.explain(
        "ann",
        "dataset:read",
        "payments//2026",
        attributes={"purpose": "audit", "rows": 5000},
        at=NOW,
    )
    value = json.loads(json.dumps(found.to_dict()))
    assert (value["allowed"], value["resource"], value["groups"]) == (
        False, "payments/2026", ["fraud-team"],
    )  # fmt: skip
    first, second = value["rules"]
    assert (first["applies"], first["broken"], first["in_time"]) == (False, ["rows"], True)
    assert (second["applies"], second["resource"], second["missing"]) == (False, False, ["cleared"])
    assert POLICY.explain("ann", "r", "a/../b").rules == ()
    assert "condition rows is not met" in found.decision.reason


def test_a_decorated_function_gives_attributes_of_the_call() -> None:
    @requires(
        "dataset:read", resource="payments/2026", policy=POLICY, clock=lambda: NOW,
        attributes=lambda rows: {"purpose": "audit", "rows": rows},
    )  # fmt: skip
    def read(rows: int) -> int:
        return rows

    with acting_as("ann"):
        assert read(10) == 10
        with pytest.raises(AccessDenied, match="rows is not met"):
            read(5000)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("group:fraud-team", "group:nobody"), "group"),
        (("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"), "not_before"),
        (('"2026-12-31T00:00:00+00:00"', '"soon"'), "not_after"),
        (("{ max = 1000 }", "{ most = 1000 }"), "rows"),
        (("{ max = 1000 }", "{ max = true }"), "rows"),
        (('["training", "audit"]', "[]"), "purpose"),
        (('"ann", ', '"a/../b", '), "groups"),
        (('["ann", "team/fraud/*"]', '"ann"'), "groups"),
        (
            ("[rules.conditions]\npurpose", "[rules.condition]\npurpose"),
            "unknown: \\['condition'\\]",
        ),
    ],
)
def test_a_malformed_policy_names_what_is_wrong(edit: tuple[str, str], says: str) -> None:
    assert edit[0] in TOML
    with pytest.raises(UsageError, match=says):
        AccessPolicy.parse(TOML.replace(*edit, 1))


def test_a_policy_that_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml"):
        AccessPolicy.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(UsageError, match=r"latin\.toml: expected UTF-8 text"):
        AccessPolicy.load(tmp_path / "latin.toml")


def test_a_rule_is_shown_in_json_with_all_it_has() -> None:
    rule = POLICY.rules[0].to_dict()
    assert rule["conditions"]["purpose"] == ["training", "audit"]
    assert rule["not_before"] == "2026-01-01T00:00:00+00:00"
    assert not Rule(subject="group:x", action="*", resource="*").covers("x", "a", "b")


def test_rules_are_tables_and_conditions_are_attributes_with_values() -> None:
    with pytest.raises(UsageError, match=r"expected \[\[rules\]\] tables"):
        AccessPolicy.parse("rules = [1]")
    with pytest.raises(UsageError, match="expected attributes and values"):
        Rule(subject="a", action="b", resource="c", conditions=["purpose"])  # type: ignore[arg-type]
