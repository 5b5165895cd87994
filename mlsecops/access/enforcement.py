"""How a function is kept to a policy: the subject of the moment is judged before the body runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from mlsecops._callables import Hooks, called_first, wrap
from mlsecops.errors import AccessDenied, UsageError

if TYPE_CHECKING:
    from mlsecops.access.policy import AccessPolicy
    from mlsecops.audit import AuditLog

__all__ = ["acting_as", "current_subject", "requires"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_subject: ContextVar[str] = ContextVar("mlsecops_subject", default="")
_in_force: ContextVar[AccessPolicy | None] = ContextVar("mlsecops_access_policy", default=None)


def current_subject() -> str:
    """Who acts in this context, or `""` when nobody was named."""
    return _subject.get()


@contextmanager
def acting_as(subject: str, *, policy: AccessPolicy | None = None) -> Iterator[str]:
    """Name who acts inside the block; tasks started in it inherit the name.

    Args:
        subject: The authenticated subject.
        policy: Policy in force inside the block, for functions that name none of their own; by
            default the one that is in force already.
    """
    token = _subject.set(subject)
    kept = _in_force.set(_in_force.get() if policy is None else policy)
    try:
        yield subject
    finally:
        _in_force.reset(kept)
        _subject.reset(token)


@called_first('@requires("ACTION", resource=…)')
def requires(
    action: str,
    *,
    resource: str | Callable[..., str],
    policy: AccessPolicy | Callable[[], AccessPolicy] | None = None,
    subject: str | Callable[..., str] | None = None,
    audit: AuditLog | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a plain, generator or `async` function run only when the policy allows it.

    A generator is judged when it is called, before its first step. With `audit`, each decision is
    an event in the log, and an event that cannot be written is a denial.

    Args:
        action: What the function does (`"dataset:read"`).
        resource: On which resource, or a callable of the call's arguments that names it.
        policy: The policy, or a callable that gives the current one; by default the one that
            `acting_as` put in force. With none in force everything is denied.
        subject: Who acts, or a callable of the call's arguments; by default `acting_as` says.
        audit: Log that takes each decision.
        clock: Gives the time of a decision, timezone-aware.

    Returns:
        The decorator. The decorated function raises `AccessDenied` when it is not allowed.
    """

    def judge(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        try:
            rules = _rules(policy)
            who = current_subject() if subject is None else _named(subject, args, kwargs)
            decision = rules.decide(who, action, _named(resource, args, kwargs))
            if audit is not None:
                event = {"type": "access", "at": clock().isoformat(), **decision.to_dict()}
                audit.append(event)
        except Exception as error:
            raise AccessDenied(
                f"{action}: access could not be decided ({type(error).__name__}: {error}), and "
                "what is not decided is denied"
            ) from error
        if not decision.allowed:
            rules.require(decision.subject, action, decision.resource)
            raise AccessDenied(f"{action} on {decision.resource}: {decision.reason}")

    hooks = Hooks(before=judge, at_call=True)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        return cast("Callable[_P, _R]", wrap(function, lambda _: hooks, decorator="requires"))

    return decorate


def _rules(policy: AccessPolicy | Callable[[], AccessPolicy] | None) -> AccessPolicy:
    named = policy() if callable(policy) else policy
    known = _in_force.get() if named is None else named
    if known is None:
        raise UsageError("no policy is in force: pass policy=…, or name one with acting_as")
    return known


def _named(
    source: str | Callable[..., str], args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    return source(*args, **kwargs) if callable(source) else source
