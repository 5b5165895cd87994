"""Cedar policies behind the same protocol, which fail closed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlsecops.access import CedarPolicy, requires
from mlsecops.errors import AccessDenied, UsageError

SCHEMA = """
entity Group;
entity User in [Group];
entity Resource in [Resource];
action "dataset:read" appliesTo {
    principal: User, resource: Resource, context: { purpose?: String, now?: Long }
};
"""
POLICIES = """
permit(principal in Group::"fraud", action == Action::"dataset:read",
       resource in Resource::"payments");
forbid(principal, action, resource in Resource::"payments/hr")
    unless { context has purpose && context.purpose == "audit" };
"""
ENTITIES: list[dict[str, Any]] = [
    {"uid": {"type": "User", "id": "ann"}, "attrs": {},
     "parents": [{"type": "Group", "id": "fraud"}]},
]  # fmt: skip
POLICY = CedarPolicy(POLICIES, schema=SCHEMA, entities=ENTITIES)


@pytest.mark.parametrize(
    ("subject", "resource", "attributes", "allowed"),
    [
        ("ann", "payments/2026", {}, True),
        ("ann", "payments//2026/", {}, True),
        ("bob", "payments/2026", {}, False),
        ("ann", "salaries/2026", {}, False),
        ("ann", "payments/hr/2026", {}, False),
        ("ann", "payments//hr/2026", {}, False),
        ("ann", "payments/hr/2026", {"purpose": "audit"}, True),
        ("ann", "payments/hr/2026", {"purpose": 3}, False),
        ("ann", "payments/2026", {"unknown": "x"}, False),
        ("ann", "payments/./2026", {}, False),
        ("ann", "payments/" + "a/" * 100, {}, False),
        ("ann", "payments/" + "a" * 5000, {}, False),
        ("", "payments", {}, False),
    ],
)
def test_cedar_decides_on_names_in_normal_form(
    subject: str,
    resource: str,
    attributes: dict[str, Any],
    allowed: bool,  # noqa: FBT001 - a table
) -> None:
    decision = POLICY.decide(subject, "dataset:read", resource, attributes=attributes)
    assert decision.allowed is allowed, decision.reason
    assert not POLICY.decide(subject, "dataset:write", resource).allowed


def test_an_error_while_a_denial_is_evaluated_is_a_denial() -> None:
    """Cedar alone skips the forbid that overflows, and allows."""
    overflowing = """
    permit(principal, action, resource);
    forbid(principal, action, resource)
        when { context has now && context.now * 9223372036854775807 > 0 };
    """
    policy = CedarPolicy(overflowing, schema=SCHEMA, time_attribute="now")
    decision = policy.decide("ann", "dataset:read", "payments", at=datetime(2026, 1, 1, tzinfo=UTC))
    assert (decision.allowed, "error while deciding" in decision.reason) == (False, True)


def test_a_decorated_function_takes_cedar() -> None:
    @requires(
        "dataset:read", resource=lambda name: f"payments/{name}", policy=POLICY, subject="ann"
    )
    def read(name: str) -> str:
        return name

    assert read("2026") == "2026"
    with pytest.raises(AccessDenied):
        read("hr")


@pytest.mark.parametrize(
    ("policies", "schema", "entities"),
    [
        ("permit(", SCHEMA, []),
        ('permit(principal == Nobody::"x", action, resource);', SCHEMA, []),
        (POLICIES.replace("purpose ==", "porpoise =="), SCHEMA, []),
        (POLICIES, "entity", []),
        (POLICIES, {"": []}, []),
        (POLICIES, SCHEMA, [{"uid": "ann"}]),
    ],
)
def test_policies_that_do_not_fit_their_schema_are_refused(
    policies: str, schema: Any, entities: list[Any]
) -> None:
    with pytest.raises(UsageError, match="Cedar"):
        CedarPolicy(policies, schema=schema, entities=entities)
