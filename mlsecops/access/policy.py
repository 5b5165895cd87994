"""Access policy: deny by default, and a matching deny rule overrides every allow rule.

rules and groups (Python, TOML) → AccessPolicy; subject, action, resource, attributes → Decision
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from mlsecops._bounded.toml import parse_toml
from mlsecops._choices import checked, of_type, path_of, several
from mlsecops._repr import concise_repr
from mlsecops.access.decision import Decision, DemandingDecider
from mlsecops.access.names import (
    LONGEST_NAME,
    AskedName,
    MatchBudget,
    NamePattern,
    compiled,
    normal_name,
)
from mlsecops.access.rule import Rule, RuleMatch
from mlsecops.errors import LimitExceeded, UsageError

if TYPE_CHECKING:
    import os

__all__ = ["AccessPolicy", "Explanation"]

_REQUIRED: Final = frozenset({"subject", "action", "resource", "effect"})
_OPTIONAL: Final = frozenset({"not_before", "not_after", "conditions"})
_MOST_REASONS: Final = 3  # rules that nearly applied and are named; chosen: one line
_TABLES: Final = frozenset({"rules", "groups"})


@concise_repr("decision")
@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a request is allowed or denied.

    Attributes:
        decision: The decision.
        groups: Groups that the subject is a member of.
        rules: What of each rule fits, in order.
    """

    decision: Decision
    groups: tuple[str, ...]
    rules: tuple[RuleMatch, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.decision.to_dict(),
            "groups": list(self.groups),
            "rules": [match.to_dict() for match in self.rules],
        }


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule with its patterns, and what names must begin with to match any of them."""

    rule: Rule
    subjects: tuple[NamePattern, ...]
    action: NamePattern
    resource: NamePattern
    prefixes: tuple[tuple[str, ...], str, str]

    def covers(self, asked: _Asked) -> bool:
        who, what, where = asked
        if type(self.rule) is not Rule:  # a subclass decides itself
            return self.rule.covers(who.text, what.text, where.text)
        return (
            self.action.matches(what)
            and any(pattern.matches(who) for pattern in self.subjects)
            and self.resource.matches(where)
        )


_Asked = tuple[AskedName, AskedName, AskedName]


@concise_repr("rules")
class AccessPolicy(DemandingDecider):
    """A set of rules, deny by default.

    Args:
        rules: Rules in any order: a matching deny rule overrides every allow rule.
        groups: Name → patterns of subjects; a rule about `"group:NAME"` is about each of them.
        clock: Time of a decision without `at`, timezone-aware.

    Raises:
        UsageError: `rules` is no list of rules, or a group is unknown or malformed.

    Examples:
        >>> policy = AccessPolicy([Rule(subject="ann", action="*", resource="data/*")])
        >>> [policy.decide(who, "read", "data/a").allowed for who in ("ann", "bob")]
        [True, False]
    """

    @checked
    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        groups: Mapping[str, Iterable[str]] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.rules = several("rules", rules, "rules", Rule)
        self.groups = _groups({} if groups is None else groups)
        self._clock = clock
        self._compiled = tuple(self._compile(rule) for rule in self.rules)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AccessPolicy:
        """Read a TOML file of `[[rules]]` tables and a table of `[groups]`.

        Args:
            path: The file.

        Raises:
            UsageError: The file cannot be read, or a rule is malformed.
        """
        try:
            return cls.parse(path_of("path", path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"access policy: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"access policy {path}: expected UTF-8 text: {error}") from error

    @classmethod
    def parse(cls, text: str) -> AccessPolicy:
        """Read TOML text.

        `[[rules]]` tables have subject, action, resource and effect, and may have not_before,
        not_after and conditions; `[groups]` has lists of patterns of subjects.

        Args:
            text: The TOML document. Unknown keys are refused, misspelt ones among them.

        Raises:
            UsageError: The text is malformed.
        """
        of_type("text", text, str, "TOML text")
        document = parse_toml(text, what="access policy", error=UsageError)
        tables, groups = document.get("rules", []), document.get("groups", {})
        if (
            document.keys() - _TABLES
            or not isinstance(tables, list)
            or not isinstance(groups, dict)
        ):
            raise UsageError(
                "access policy: expected [[rules]] tables and [groups], got "
                f"{', '.join(document.keys() - _TABLES) or tables or groups}"
            )
        return cls((_rule(table) for table in tables), groups=groups)

    def decide(
        self,
        subject: str,
        action: str,
        resource: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """Decide one request; never raises, and any error is a denial.

        Names are judged, and stand in the Decision, in their normal form; a name that a storage
        system may read as another one, or that is very long, is denied.

        Args:
            subject: Subject that asks.
            action: Action that it asks for.
            resource: Resource of the action.
            attributes: What conditions are compared with (`{"purpose": "audit"}`).
            at: Time of the request, timezone-aware; now by default.
        """
        given = subject, action, resource
        names = [str(each) for each in given]
        try:
            normal = [normal_name(each) if isinstance(each, str) else "" for each in given]
            names = [new or old for new, old in zip(normal, names, strict=True)]
            allowed, reason = self._judge(normal, attributes or {}, at)
        except LimitExceeded:
            allowed, reason = False, "too many segments to compare with this policy"
        except Exception as error:  # noqa: BLE001 - any error while deciding is a denial
            allowed, reason = False, f"error while deciding: {type(error).__name__}"
        who, what, where = names
        return Decision(allowed=allowed, subject=who, action=what, resource=where, reason=reason)

    def explain(
        self,
        subject: str,
        action: str,
        resource: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Explanation:
        """Decide one request, and say of each rule what of it fits.

        Args:
            subject: As for `decide`.
            action: As for `decide`.
            resource: As for `decide`.
            attributes: As for `decide`.
            at: As for `decide`.
        """
        now = at or self._clock()
        decision = self.decide(subject, action, resource, attributes=attributes, at=now)
        matches: list[RuleMatch] = []
        groups: list[str] = []
        given = (subject, action, resource)
        names = [normal_name(each) if isinstance(each, str) else "" for each in given]
        if all(names):
            asked = _asked(cast("list[str]", names))
            with contextlib.suppress(LimitExceeded):
                matches = [_match(each, asked, attributes or {}, now) for each in self._compiled]
                groups = [name for name in self.groups if self._member(name, asked[0])]
        return Explanation(decision=decision, groups=tuple(groups), rules=tuple(matches))

    def _judge(
        self, names: list[str | None], attributes: Mapping[str, Any], at: datetime | None
    ) -> tuple[bool, str]:
        if None in names:
            return False, (
                "another spelling of a name: control characters, dots or blanks at the edge of a "
                f"segment, a backslash, percent-encoding, or more than {LONGEST_NAME} characters"
            )
        if not all(names):
            return False, "subject, action and resource must all be named"
        asked = _asked(cast("list[str]", names))
        who, what, where = cast("list[str]", names)
        allowing: Rule | None = None
        reasons: list[str] = []
        for each in self._compiled:
            subject, action, resource = each.prefixes
            if not (
                what.startswith(action) and who.startswith(subject) and where.startswith(resource)
            ):
                continue
            if not each.covers(asked):
                continue
            refusal = self._refusal(each.rule, attributes, at)
            if refusal is not None:
                reasons.append(f"{refusal}: {each.rule}")
            elif each.rule.effect == "deny":
                return False, f"rule: {each.rule}"
            elif allowing is None:
                allowing = each.rule
        if allowing is not None:
            return True, f"rule: {allowing}"
        return False, "; ".join(["no rule allows it", *reasons[:_MOST_REASONS]])

    def _refusal(
        self, rule: Rule, attributes: Mapping[str, Any], at: datetime | None
    ) -> str | None:
        """Why a rule that covers a request does not apply, or None."""
        if not self._timely(rule, at):
            return "out of its time"
        if not rule.conditions:
            return None
        broken, missing = rule.unmet(attributes)
        unmet = broken if rule.effect == "deny" else (*broken, *missing)
        return f"condition {unmet[0]} is not met" if unmet else None

    def _timely(self, rule: Rule, at: datetime | None) -> bool:
        if rule.not_before is None and rule.not_after is None:
            return True
        return rule.in_time(at or self._clock())

    def _compile(self, rule: Rule) -> _Compiled:
        if rule.group is not None and rule.group not in self.groups:
            known = ", ".join(self.groups) or "none"
            raise UsageError(f"rule {rule}: expected a group of {known}, got {rule.group!r}")
        named = (rule.subject,) if rule.group is None else self.groups[rule.group]
        subjects = tuple(_pattern(each) for each in named)
        action, resource = _pattern(rule.action), _pattern(rule.resource)
        prefixes = (tuple(each.prefix for each in subjects), action.prefix, resource.prefix)
        if type(rule) is not Rule:
            prefixes = (("",), "", "")
        return _Compiled(rule, subjects, action, resource, prefixes)

    def _member(self, group: str, who: AskedName) -> bool:
        return any(_pattern(each).matches(who) for each in self.groups[group])


def _pattern(text: str) -> NamePattern:
    return cast("NamePattern", compiled(text))  # rules and groups hold no others


def _asked(names: list[str]) -> _Asked:
    budget = MatchBudget()
    subject, action, resource = (AskedName(name, budget) for name in names)
    return subject, action, resource


def _match(
    each: _Compiled, asked: _Asked, attributes: Mapping[str, Any], at: datetime
) -> RuleMatch:
    who, what, where = asked
    broken, missing = each.rule.unmet(attributes)
    return RuleMatch(
        rule=each.rule,
        subject=any(pattern.matches(who) for pattern in each.subjects),
        action=each.action.matches(what),
        resource=each.resource.matches(where),
        in_time=each.rule.in_time(at),
        broken=broken,
        missing=missing,
    )


def _groups(given: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    of_type("groups", given, Mapping, "names with patterns of subjects")
    found: dict[str, tuple[str, ...]] = {}
    for name, members in given.items():
        patterns = several(f"groups: {name}", members, "patterns of subjects", str)
        for pattern in patterns:
            if compiled(pattern) is None:
                raise UsageError(
                    f"groups: {name}: expected a pattern in normal form, got {pattern!r}"
                )
        found[name] = patterns
    return found


def _rule(table: object) -> Rule:
    if not isinstance(table, Mapping):
        raise UsageError(f"access policy: expected [[rules]] tables, got {table!r}")
    unknown = table.keys() - _REQUIRED - _OPTIONAL
    missing = _REQUIRED - table.keys()
    if unknown or missing:
        raise UsageError(
            f"access rule: expected {', '.join(sorted(_REQUIRED))}; unknown: {sorted(unknown)}, "
            f"missing: {sorted(missing)}"
        )
    times = {
        name: _time(name, table[name]) for name in ("not_before", "not_after") if name in table
    }
    return Rule(**cast("dict[str, Any]", {**table, **times}))


def _time(name: str, value: object) -> object:
    """A time of TOML, or its text."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageError(f"{name}: expected a time, got {value[:80]!r}") from error
