"""Access control decorator: a policy decides about the current subject before a function runs.

`acting_as` (subject) → `requires` (action, resource) → function, or AccessDenied
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar, cast

from mlsecops._callables import Hooks, called_first, wrap
from mlsecops._choices import checked, of_type
from mlsecops.access.decision import AccessDecider, DecisionSink, require_allowed
from mlsecops.errors import AccessDenied, UsageError

__all__ = ["acting_as", "current_subject", "requires"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_subject: ContextVar[str] = ContextVar("mlsecops_subject", default="")
_in_force: ContextVar[AccessDecider | None] = ContextVar("mlsecops_access_policy", default=None)


def current_subject() -> str:
    """Subject of this context, or `""` outside of `acting_as`."""
    return _subject.get()


@checked
@contextmanager
def acting_as(subject: str, *, policy: AccessDecider | None = None) -> Iterator[str]:
    """Set the subject for the block; tasks that start inside inherit it.

    Args:
        subject: The authenticated subject.
        policy: Policy for functions in the block that name none, such as an `AccessPolicy` or a
            `CedarPolicy`; by default the current one.

    Raises:
        UsageError: The subject is no text.

    Examples:
        >>> with acting_as("team/ann"):
        ...     current_subject()
        'team/ann'
    """
    token = _subject.set(subject)
    kept = _in_force.set(_in_force.get() if policy is None else policy)
    try:
        yield subject
    finally:
        _in_force.reset(kept)
        _subject.reset(token)


@called_first('@requires("ACTION", resource=…)')
@checked
def requires(
    action: str,
    *,
    resource: str | Callable[..., str],
    policy: AccessDecider | Callable[[], AccessDecider] | None = None,
    subject: str | Callable[..., str] | None = None,
    attributes: Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None = None,
    audit: DecisionSink | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a function run only if the policy allows it.

    The decorated function keeps its kind; a generator function decides when it is called, before
    the first step. With `audit`, each decision is an event in the log, and an event that cannot be
    written is a denial.

    Args:
        action: Action of the function (`"dataset:read"`).
        resource: Name of the resource, or a callable of the call's arguments that returns it.
        policy: The policy, or a callable that returns the current one; by default the one of
            `acting_as`. Without a policy everything is denied.
        subject: The subject, or a callable of the call's arguments that returns it; by default
            that of `acting_as`.
        attributes: What conditions are compared with, or a callable of the call's arguments that
            returns it.
        audit: Log that receives each decision: an `AuditLog`, or a `DecisionLog` for many.
        clock: Time of a decision, timezone-aware.

    Returns:
        The decorator. The decorated function raises `AccessDenied` if it is not allowed.

    Raises:
        UsageError: An argument has another type, or the decorated object is no function.

    Examples:
        >>> from mlsecops.access import AccessPolicy, Rule
        >>> policy = AccessPolicy([Rule(subject="ann", action="read", resource="*")])
        >>> @requires("read", resource="payments", policy=policy, subject="ann")
        ... def rows(): return 3
        >>> rows()
        3
    """
    if audit is not None:
        of_type("audit", audit, "append", "an AuditLog")

    def judge(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        try:
            rules = _rules(policy)
            who = current_subject() if subject is None else _named(subject, args, kwargs)
            known = attributes(*args, **kwargs) if callable(attributes) else attributes
            now = clock()
            where = _named(resource, args, kwargs)
            decision = rules.decide(who, action, where, attributes=known, at=now)
            if audit is not None:
                audit.append({"type": "access", "at": now.isoformat(), **decision.to_dict()})
        except Exception as error:
            raise AccessDenied(
                f"{action}: denied, because the decision failed ({type(error).__name__}: {error})"
            ) from error
        require_allowed(decision)

    hooks = Hooks(before=judge, at_call=True)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        return cast("Callable[_P, _R]", wrap(function, lambda _: hooks, decorator="requires"))

    return decorate


def _rules(policy: AccessDecider | Callable[[], AccessDecider] | None) -> AccessDecider:
    named = policy() if callable(policy) else policy
    known = _in_force.get() if named is None else named
    if known is None:
        raise UsageError("policy: expected one, got none; pass policy=… or use acting_as")
    return known


def _named(
    source: str | Callable[..., str], args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    return source(*args, **kwargs) if callable(source) else source
