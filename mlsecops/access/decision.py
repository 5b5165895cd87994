"""Decision about one request, and the protocol of what decides.

subject, action, resource, attributes, time → `AccessDecider` → AccessDecision
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mlsecops._repr import concise_repr
from mlsecops.errors import AccessDenied

__all__ = ["AccessDecider", "Decision", "DecisionSink", "DemandingDecider", "require_allowed"]


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


class AccessDecider(Protocol):
    """What decides about requests: an `AccessPolicy`, a `CedarPolicy`, or a service of yours."""

    def decide(
        self,
        subject: str,
        action: str,
        resource: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """Decide one request; never raises, and any error is a denial."""


class DemandingDecider(abc.ABC):
    """Base of policies: `require` raises where `decide` denies."""

    @abc.abstractmethod
    def decide(
        self,
        subject: str,
        action: str,
        resource: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """Decide one request; never raises, and any error is a denial."""

    def require(
        self,
        subject: str,
        action: str,
        resource: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
    ) -> Decision:
        """Decide one request, as `decide` does, and raise unless it is allowed.

        Raises:
            AccessDenied: No rule allows the action, or a rule denies it.
        """
        return require_allowed(self.decide(subject, action, resource, attributes=attributes, at=at))


class DecisionSink(Protocol):
    """What receives decisions: an `AuditLog` or a `DecisionLog`."""

    def append(self, event: Mapping[str, Any]) -> object:
        """Take an event; raising is a denial of what it is about."""


def require_allowed(decision: Decision) -> Decision:
    """Demand that a request is allowed.

    Raises:
        AccessDenied: It is not.
    """
    if decision.allowed is not True:  # a service may answer in a text, such as "false"
        raise AccessDenied(
            f"{decision.subject or 'nobody'} may not {decision.action} {decision.resource}: "
            f"{decision.reason}; ask the owner of the access policy for a rule that allows it"
        )
    return decision
