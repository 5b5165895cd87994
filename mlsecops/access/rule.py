"""Access rule: patterns of subject, action and resource, a time, and conditions.

table (Python, TOML) → Rule → `RuleMatch` of one request: what of it fits

What a condition asks for and the request does not say, or says in another type, counts against the
request: an allow rule does not apply then, and a deny rule does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, cast, get_args

from mlsecops._choices import one_of
from mlsecops._repr import concise_repr
from mlsecops.access.names import AskedName, MatchBudget, compiled, normal_name
from mlsecops.errors import LimitExceeded, UsageError

__all__ = ["Effect", "Rule", "RuleMatch"]

Effect = Literal["allow", "deny"]
Scalar = str | int | float | bool

GROUP: Final = "group:"
_BOUNDS: Final = frozenset({"min", "max"})


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a policy.

    In a pattern `*` matches any run of characters within one segment of a path, `**` as a segment
    any number of segments, and `*` alone every name. Case matters, and nothing else is special.
    Patterns and names are compared in one normal form: without empty segments, in Unicode NFC.

    Attributes:
        subject: Pattern of subjects (`"alice"`, `"team-fraud/*"`), or `"group:NAME"`.
        action: Pattern of actions (`"dataset:read"`, `"model:*"`).
        resource: Pattern of resources (`"payments/*"`, `"payments/**"`).
        effect: `"allow"` or `"deny"`.
        not_before: Time from which it applies, timezone-aware, or None.
        not_after: Time until which it applies, timezone-aware, or None.
        conditions: Attribute of the request → value, values of which one must be given, or
            `{"min": …, "max": …}` of a number.

    Raises:
        UsageError: A pattern is empty, no text or not in normal form, the effect is unknown, a time
            has no timezone, or a condition is none.

    Examples:
        >>> Rule(subject="team/*", action="dataset:read", resource="*").covers(
        ...     "team/ann", "dataset:read", "payments"
        ... )
        True
    """

    subject: str
    action: str
    resource: str
    effect: Effect = "allow"
    not_before: datetime | None = None
    not_after: datetime | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        one_of("effect", self.effect, get_args(Effect))
        for name in ("subject", "action", "resource"):
            pattern = getattr(self, name)
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(f"{name}: expected a pattern such as 'team/*', got {pattern!r}")
            if compiled(pattern) is None:
                raise UsageError(
                    f"{name}: expected a pattern in normal form with `**` as a whole segment, "
                    f"got {pattern[:80]!r}; write it without dots, backslashes and percent-encoding"
                )
        for name in ("not_before", "not_after"):
            time = getattr(self, name)
            if time is not None and (not isinstance(time, datetime) or time.tzinfo is None):
                raise UsageError(f"{name}: expected a time with a timezone, got {time!r}")
        conditions = MappingProxyType(_conditions(self.conditions))
        object.__setattr__(self, "conditions", conditions)

    @property
    def group(self) -> str | None:
        """Name of the group that it is about, or None."""
        return self.subject[len(GROUP) :] if self.subject.startswith(GROUP) else None

    def covers(self, subject: str, action: str, resource: str) -> bool:
        """Whether all three patterns match the names' normal forms; groups are a policy's.

        Where the names are too long to compare, an allow rule does not and a deny rule does.
        """
        budget = MatchBudget()
        pairs = ((self.subject, subject), (self.action, action), (self.resource, resource))
        try:
            return all(
                bool(name)
                and (found := compiled(pattern)) is not None
                and found.matches(AskedName(name, budget))
                for pattern, name in pairs
            )
        except LimitExceeded:
            return self.effect == "deny"  # what cannot be compared counts against the request

    def in_time(self, at: datetime) -> bool:
        """Whether it applies at a time."""
        return (self.not_before is None or at >= self.not_before) and (
            self.not_after is None or at <= self.not_after
        )

    def unmet(self, attributes: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of conditions that attributes break, and of those that they say nothing about.

        A value of another type than the condition's says nothing.
        """
        missing = tuple(
            name
            for name, wanted in self.conditions.items()
            if name not in attributes or not _comparable(attributes[name], wanted)
        )
        broken = tuple(
            name
            for name, wanted in self.conditions.items()
            if name not in missing and not _meets(attributes[name], wanted)
        )
        return broken, missing

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        times = {"not_before": self.not_before, "not_after": self.not_after}
        return {
            "subject": self.subject,
            "action": self.action,
            "resource": self.resource,
            "effect": self.effect,
            **{name: time.isoformat() for name, time in times.items() if time is not None},
            **({"conditions": self._plain_conditions()} if self.conditions else {}),
        }

    def _plain_conditions(self) -> dict[str, Any]:
        return {
            name: dict(wanted) if isinstance(wanted, Mapping) else list(wanted)
            for name, wanted in self.conditions.items()
        }

    def __str__(self) -> str:
        return f"{self.effect} {self.subject} {self.action} {self.resource}"


@concise_repr("rule", "applies")
@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMatch:
    """What of a rule fits one request.

    Attributes:
        rule: The rule.
        subject: Whether the subject fits.
        action: Whether the action fits.
        resource: Whether the resource fits.
        in_time: Whether it applies at the time of the request.
        broken: Conditions that the request breaks.
        missing: Conditions about what the request does not say.
    """

    rule: Rule
    subject: bool
    action: bool
    resource: bool
    in_time: bool
    broken: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def applies(self) -> bool:
        """Whether the rule applies; what is not said counts against the request."""
        fits = self.subject and self.action and self.resource and self.in_time and not self.broken
        return fits and (self.rule.effect == "deny" or not self.missing)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rule": self.rule.to_dict(),
            "applies": self.applies,
            "subject": self.subject,
            "action": self.action,
            "resource": self.resource,
            "in_time": self.in_time,
            "broken": list(self.broken),
            "missing": list(self.missing),
        }


def _conditions(given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise UsageError(f"conditions: expected attributes and values, got {given!r}")
    return {str(name): _wanted(str(name), value) for name, value in given.items()}


def _wanted(name: str, value: object) -> Any:
    if isinstance(value, Mapping):
        bounds = dict(value)
        if not bounds or bounds.keys() - _BOUNDS or not all(map(_number, bounds.values())):
            raise UsageError(f"conditions: {name}: expected min and max, got {bounds!r}")
        return MappingProxyType(bounds)
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not values or not all(isinstance(each, Scalar) for each in values):
        raise UsageError(f"conditions: {name}: expected a value or several, got {value!r}")
    return tuple(map(_normal, values))


def _normal(value: Any) -> Any:
    """A value as it is compared: texts in the normal form of names, where they have one."""
    return normal_name(value) or value if isinstance(value, str) else value


def _comparable(given: object, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return _number(given)
    return any(type(given) is type(each) for each in wanted)


def _meets(given: object, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        value = cast("float", given)
        return bool(wanted.get("min", value) <= value <= wanted.get("max", value))
    return any(type(given) is type(each) and _normal(given) == each for each in wanted)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - NaN is no bound
