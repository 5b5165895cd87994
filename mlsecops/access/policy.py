"""Access policy: deny by default, and a matching deny rule overrides every allow rule.

rules (Python, TOML) → AccessPolicy; subject, action, resource → Decision
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from mlsecops._bounded.toml import parse_toml
from mlsecops._choices import of_type, one_of, path_of, several
from mlsecops._repr import concise_repr
from mlsecops.access.names import LONGEST_NAME, compiled, normal_name, segments
from mlsecops.errors import AccessDenied, UsageError

if TYPE_CHECKING:
    import os

__all__ = ["AccessPolicy", "Decision", "Effect", "Rule"]

Effect = Literal["allow", "deny"]

_MOST_STEPS: Final = 5_000_000  # compared segments of a decision; chosen: about two seconds
_FIELDS: Final = frozenset({"subject", "action", "resource", "effect"})


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a policy.

    In a pattern `*` matches any run of characters within one segment of a path, `**` as a segment
    any number of segments, and `*` alone every name. Case matters, and nothing else is special.
    Patterns and names are compared in one normal form: without empty segments, in Unicode NFC.

    Attributes:
        subject: Pattern of subjects (`"alice"`, `"team-fraud/*"`).
        action: Pattern of actions (`"dataset:read"`, `"model:*"`).
        resource: Pattern of resources (`"payments/*"`, `"payments/**"`).
        effect: `"allow"` or `"deny"`.

    Raises:
        UsageError: A pattern is empty, no text or not in normal form, or the effect is unknown.

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

    def __post_init__(self) -> None:
        one_of("effect", self.effect, get_args(Effect))
        for field in ("subject", "action", "resource"):
            pattern = getattr(self, field)
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(f"{field}: expected a pattern such as 'team/*', got {pattern!r}")
            if compiled(pattern) is None:
                raise UsageError(
                    f"{field}: expected a pattern in normal form with `**` as a whole segment, "
                    f"got {pattern!r}; write it without dots, backslashes and percent-encoding"
                )

    def covers(self, subject: str, action: str, resource: str) -> bool:
        """Whether all three patterns match the names' normal forms."""
        return (
            _matches(self.subject, subject)
            and _matches(self.action, action)
            and _matches(self.resource, resource)
        )

    def __str__(self) -> str:
        return f"{self.effect} {self.subject} {self.action} {self.resource}"


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Answer of a policy to one request.

    Attributes:
        allowed: Whether the action is allowed.
        subject: Subject of the request.
        action: Action of the request.
        resource: Resource of the request.
        reason: The rule that decided, or why no rule did.
    """

    allowed: bool
    subject: str
    action: str
    resource: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and the audit log."""
        return {
            "allowed": self.allowed,
            "subject": self.subject,
            "action": self.action,
            "resource": self.resource,
            "reason": self.reason,
        }


@concise_repr("rules")
class AccessPolicy:
    """A set of rules, deny by default.

    Args:
        rules: Rules in any order: a matching deny rule overrides every allow rule.

    Raises:
        UsageError: `rules` is no list of rules.

    Examples:
        >>> policy = AccessPolicy([Rule(subject="ann", action="*", resource="data/*")])
        >>> [policy.decide(who, "read", "data/a").allowed for who in ("ann", "bob")]
        [True, False]
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = several("rules", rules, "rules", Rule)
        patterns = (each for rule in self.rules for each in (rule.subject, rule.resource))
        self._size = sum(found.size for each in patterns if (found := compiled(each)))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AccessPolicy:
        """Read a TOML file of `[[rules]]` tables.

        Args:
            path: The file.

        Raises:
            UsageError: The file cannot be read, or a rule is malformed.
        """
        try:
            return cls.parse(path_of("path", path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"access policy {path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> AccessPolicy:
        """Read TOML text with `[[rules]]` tables of subject, action, resource and effect.

        Args:
            text: The TOML document. Unknown keys are refused, misspelt ones among them.

        Raises:
            UsageError: The text is malformed.
        """
        of_type("text", text, str, "TOML text")
        document = parse_toml(text, what="access policy", error=UsageError)
        tables = document.pop("rules", [])
        if document or not isinstance(tables, list):
            raise UsageError(
                f"access policy: expected only [[rules]] tables, got "
                f"{', '.join(document) or tables}"
            )
        return cls(_rule(table) for table in tables)

    def decide(self, subject: str, action: str, resource: str) -> Decision:
        """Decide one request; never raises, and any error is a denial.

        Names are judged, and stand in the Decision, in their normal form; a name that a storage
        system may read as another one, or that is very long, is denied.

        Args:
            subject: Subject that asks.
            action: Action that it asks for.
            resource: Resource of the action.
        """
        given = subject, action, resource
        names = [str(each) for each in given]
        try:
            normal = [normal_name(each) if isinstance(each, str) else "" for each in given]
            names = [new or old for new, old in zip(normal, names, strict=True)]
            allowed, reason = self._judge(normal)
        except Exception as error:  # noqa: BLE001 - any error while deciding is a denial
            allowed, reason = False, f"error while deciding: {type(error).__name__}"
        who, what, where = names
        return Decision(allowed=allowed, subject=who, action=what, resource=where, reason=reason)

    def require(self, subject: str, action: str, resource: str) -> Decision:
        """Decide one request and raise unless it is allowed.

        Raises:
            AccessDenied: No rule allows the action, or a rule denies it.
        """
        decision = self.decide(subject, action, resource)
        if not decision.allowed:
            raise AccessDenied(
                f"{subject or 'nobody'} may not {action} {resource}: {decision.reason}; ask the "
                "owner of the access policy for a rule that allows it"
            )
        return decision

    def _judge(self, names: list[str | None]) -> tuple[bool, str]:
        subject, action, resource = names
        if subject is None or action is None or resource is None:
            return False, (
                "another spelling of a name: control characters, dots or blanks at the edge of a "
                f"segment, a backslash, percent-encoding, or more than {LONGEST_NAME} characters"
            )
        if not (subject and action and resource):
            return False, "subject, action and resource must all be named"
        if self._size * (subject.count("/") + resource.count("/") + 2) > _MOST_STEPS:
            return False, "too many segments to compare with this policy"
        matching = [rule for rule in self.rules if rule.covers(subject, action, resource)]
        for rule in matching:
            if rule.effect == "deny":
                return False, f"rule: {rule}"
        if not matching:
            return False, "no rule allows it"
        return True, f"rule: {matching[0]}"


def _matches(pattern: str, name: str) -> bool:
    found = compiled(pattern)
    return found is not None and found.matches(segments(name))


def _rule(table: object) -> Rule:
    if not isinstance(table, Mapping):
        raise UsageError(f"access policy: expected [[rules]] tables, got {table!r}")
    unknown = table.keys() - _FIELDS
    missing = _FIELDS - table.keys()
    if unknown or missing:
        raise UsageError(
            f"access rule: expected {', '.join(sorted(_FIELDS))}; unknown: {sorted(unknown)}, "
            f"missing: {sorted(missing)}"
        )
    return Rule(**cast("dict[str, Any]", dict(table)))
