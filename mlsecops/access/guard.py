"""Access guard: a policy, a subject and an audit log, asked by loaders, registries and data stores.

action, resource → decision (`AccessDecider`) → audit event → nothing, or AccessDenied
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlsecops._choices import of_type
from mlsecops._repr import concise_repr
from mlsecops.access.decision import AccessDecider, Decision, DecisionSink, require_allowed
from mlsecops.access.enforcement import current_subject
from mlsecops.errors import AccessDenied

__all__ = ["AccessGuard"]


@concise_repr("policy", "subject")
@dataclass(frozen=True, slots=True)
class AccessGuard:
    """Decides and records what one subject may do; `SecureLoader` and `Registry` take it.

    Attributes:
        policy: The policy: an `AccessPolicy`, a `CedarPolicy`, or a service of yours.
        subject: The subject; by default that of `acting_as`, and nobody outside of it.
        audit: Log that receives each decision: an `AuditLog`, or a `DecisionLog` for many.
        clock: Time of a decision, timezone-aware.

    Raises:
        UsageError: The policy cannot decide, or the log takes no events.

    Examples:
        >>> from mlsecops.access import AccessPolicy, Rule
        >>> rule = Rule(subject="svc/*", action="model:load", resource="fraud")
        >>> guard = AccessGuard(AccessPolicy([rule]), subject="svc/scoring")
        >>> guard.demand("model:load", "fraud").allowed
        True
    """

    policy: AccessDecider
    _: KW_ONLY
    subject: str | None = None
    audit: DecisionSink | None = None
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        of_type("policy", self.policy, "decide", "an AccessPolicy")
        if self.subject is not None:
            of_type("subject", self.subject, str, "text")
        if self.audit is not None:
            of_type("audit", self.audit, "append", "an AuditLog")

    def demand(
        self, action: str, resource: str, *, attributes: Mapping[str, Any] | None = None
    ) -> Decision:
        """Demand that the subject may do this with a resource.

        Args:
            action: Such as `model:load`.
            resource: Such as a model's name or the path of a data set.
            attributes: What conditions are compared with.

        Returns:
            The decision.

        Raises:
            AccessDenied: It may not, or the decision failed or cannot be recorded.
        """
        who = current_subject() if self.subject is None else self.subject
        try:
            now = self.clock()
            decision = self.policy.decide(who, action, resource, attributes=attributes, at=now)
            event = {"type": "access", "at": now.isoformat(), **decision.to_dict()}
        except Exception as error:
            raise AccessDenied(
                f"{action}: denied, because the decision failed ({type(error).__name__}: {error})"
            ) from error
        self.record(event, action)
        return require_allowed(decision)

    def record(self, event: Mapping[str, Any], action: str) -> None:
        """Write an event to the audit log, if there is one.

        Raises:
            AccessDenied: It cannot be written.
        """
        if self.audit is None:
            return
        try:
            self.audit.append(event)
        except Exception as error:
            raise AccessDenied(
                f"{action}: denied, because it cannot be recorded ({type(error).__name__}: {error})"
            ) from error
