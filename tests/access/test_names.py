from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.access import AccessPolicy, Rule
from mlsecops.errors import UsageError
from tests.ceilings import answered


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("payments/*", "payments/hr", True),
        ("payments/*", "payments/hr/2024", False),
        ("payments/**", "payments/hr/2024", True),
        ("payments/**", "payments", False),
        ("**/private", "private", True),
        ("**/private", "a/b/private", True),
        ("a/**/z", "a/z", True),
        ("a/**/m*/**/z", "a/b/mm/c/z", True),
        ("a/**/m*/**/z", "a/b/c/z", False),
        ("a/**/b/c/**/d", "a/b/b/c/d", True),
        ("**/x/**", "x", False),
        ("**/x/**", "x/y", True),
        ("data-*-2024", "data-a-b-2024", True),
        ("*a*a*", "ba", False),
        ("ab*ba", "aba", False),
        ("*", "a/b/c", True),
        ("**", "a/b/c", True),
    ],
)
def test_a_star_stays_within_a_segment_and_two_cross(
    pattern: str,
    name: str,
    matches: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    policy = AccessPolicy([Rule(subject="ann", action="read", resource=pattern)])
    assert policy.decide("ann", "read", name).allowed is matches


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "*b*a"]), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "b", "ab", "ba", "aba"]), min_size=1, max_size=6),
)
def test_patterns_match_like_the_regular_expression_that_they_mean(
    pattern: list[str], name: list[str]
) -> None:
    def meant(parts: list[str]) -> str:
        if parts == ["**"]:
            return "[^/]+(/[^/]+)*"
        first, rest = parts[0], parts[1:]
        if first == "**":
            return f"([^/]+/)*{meant(rest)}"
        here = first.replace("*", "[^/]*")
        return f"{here}/{meant(rest)}" if rest else here

    expected = pattern == ["*"] or re.fullmatch(meant(pattern), "/".join(name)) is not None
    policy = AccessPolicy([Rule(subject="ann", action="read", resource="/".join(pattern))])
    assert policy.decide("ann", "read", "/".join(name)).allowed is expected


@pytest.mark.parametrize("wrong", ["a/../b", "a/./b", "a**", "**b/c", "a\\b", "a%2Fb", "/", "a\n"])
def test_a_pattern_that_no_name_in_normal_form_matches_is_wrong_use(wrong: str) -> None:
    with pytest.raises(UsageError, match="normal form"):
        Rule(subject="a", action="b", resource=wrong)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*/x/*/x/*/end", "/x/" * 300_000),
        ("**/x/**/x/**/end", "x/" * 30_000 + "en"),
        ("*a" * 20_000 + "b", "a" * 60_000),
        ("**/a*/" * 5_000 + "b", "a/" * 30_000),
        ("a" * 30_000 + "*b", "a" * 60_000),
    ],
)
def test_a_decision_takes_no_time_that_the_caller_chooses(pattern: str, name: str) -> None:
    rules = [Rule(subject="*", action="*", resource=pattern, effect="deny")]
    everything = Rule(subject="*", action="*", resource="*")
    answered(AccessPolicy([*rules, everything]).decide, "ann", "read", name)


def test_a_name_of_too_many_segments_for_a_policy_is_denied() -> None:
    rules = [Rule(subject="*", action="*", resource=f"**/a*/b*/**/{n}") for n in range(200)]
    policy = AccessPolicy([*rules, Rule(subject="*", action="*", resource="**")])
    assert policy.decide("ann", "read", "a/b").allowed
    decision = policy.decide("ann", "read", "b/" + "a/" * 30_000)
    assert not decision.allowed
    assert "too many segments" in decision.reason
