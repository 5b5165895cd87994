"""Which rules allow or deny an action: denied by default, and one denial outweighs all permits."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from mlsecops.errors import AccessDenied, UsageError

if TYPE_CHECKING:
    import os

__all__ = ["AccessPolicy", "Decision", "Effect", "Rule"]

Effect = Literal["allow", "deny"]

_DOTS: Final = frozenset({".", ".."})
_FIELDS: Final = frozenset({"subject", "action", "resource", "effect"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a policy.

    In a pattern `*` stands for any run of characters, case matters, and nothing else is special.

    Attributes:
        subject: Pattern of who (`"alice"`, `"team-fraud/*"`).
        action: Pattern of what (`"dataset:read"`, `"model:*"`).
        resource: Pattern of on which (`"payments/*"`).
        effect: `"allow"` or `"deny"`.
    """

    subject: str
    action: str
    resource: str
    effect: Effect = "allow"

    def __post_init__(self) -> None:
        if self.effect not in get_args(Effect):
            raise UsageError(f"access rule: expected effect allow or deny, got {self.effect!r}")
        for field in ("subject", "action", "resource"):
            pattern = getattr(self, field)
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(f"access rule: {field} must be a pattern, got {pattern!r}")

    def covers(self, subject: str, action: str, resource: str) -> bool:
        """Whether all three patterns match."""
        return (
            _matches(self.subject, subject)
            and _matches(self.action, action)
            and _matches(self.resource, resource)
        )

    def __str__(self) -> str:
        return f"{self.effect} {self.subject} {self.action} {self.resource}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a policy said of one request.

    Attributes:
        allowed: Whether the action may go on.
        subject: Who asked.
        action: What for.
        resource: On which.
        reason: The rule that decided, or why none did.
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


class AccessPolicy:
    """A set of rules, deny by default.

    Args:
        rules: In any order: one matching denial outweighs every permission.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AccessPolicy:
        """Read a TOML file of `[[rules]]` tables.

        Args:
            path: The file.

        Raises:
            UsageError: It cannot be read, or a rule is malformed.
        """
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"access policy {path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> AccessPolicy:
        """Read TOML text with `[[rules]]` tables of subject, action, resource and effect.

        Args:
            text: The TOML document. Unknown keys are refused: a misspelt one must not be a rule.

        Raises:
            UsageError: It is malformed.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"access policy: not TOML: {error}") from error
        tables = document.pop("rules", [])
        if document or not isinstance(tables, list):
            raise UsageError(
                f"access policy: expected only [[rules]] tables, got "
                f"{', '.join(document) or tables}"
            )
        return cls(_rule(table) for table in tables)

    def decide(self, subject: str, action: str, resource: str) -> Decision:
        """Judge one request; never raises, and any error is a denial.

        Args:
            subject: Who asks.
            action: What for.
            resource: On which.
        """
        try:
            allowed, reason = self._judge(subject, action, resource)
        except Exception as error:  # noqa: BLE001 - any error while deciding is a denial
            allowed, reason = False, f"error while deciding: {type(error).__name__}"
        return Decision(
            allowed=allowed,
            subject=str(subject),
            action=str(action),
            resource=str(resource),
            reason=reason,
        )

    def require(self, subject: str, action: str, resource: str) -> Decision:
        """Judge one request and raise unless it is allowed.

        Raises:
            AccessDenied: No rule allows it, or one denies it.
        """
        decision = self.decide(subject, action, resource)
        if not decision.allowed:
            raise AccessDenied(
                f"{subject or 'nobody'} may not {action} {resource}: {decision.reason}; ask the "
                "owner of the access policy for a rule that allows it"
            )
        return decision

    def _judge(self, subject: str, action: str, resource: str) -> tuple[bool, str]:
        if not (subject and action and resource):
            return False, "subject, action and resource must all be named"
        if any(
            not each.isprintable() or _DOTS & {*each.split("/")} for each in (subject, resource)
        ):
            return False, "another spelling of a name: control characters, or '.' as a segment"
        matching = [rule for rule in self.rules if rule.covers(subject, action, resource)]
        for rule in matching:
            if rule.effect == "deny":
                return False, f"rule: {rule}"
        if not matching:
            return False, "no rule allows it"
        return True, f"rule: {matching[0]}"


def _matches(pattern: str, text: str) -> bool:
    expression = ".*".join(re.escape(part) for part in re.split(r"\*+", pattern))
    return re.fullmatch(expression, text, flags=re.DOTALL) is not None


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
