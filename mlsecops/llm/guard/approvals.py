"""Tool calls that were approved before untrusted text entered.

plan of a person or a policy → approved calls → the call that is made → whether one fits it, once

An argument of a plan is a value, a condition, or open (`...`); one that the plan does not mention
has to be the user's.

Source: Beurer-Kellner et al., "Design Patterns for Securing LLM Agents against Prompt Injections"
(2025), section 3.1 (plan, then execute).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mlsecops.llm.guard.provenance import same_value

__all__ = ["OF_THE_USER", "Approvals"]

OF_THE_USER: Final = frozenset({"user", "default", "record"})
"""Provenance of arguments that no untrusted text chose."""


class _Approved(NamedTuple):
    tool: str
    arguments: Mapping[str, Any]

    def fits(self, tool: str, arguments: Mapping[str, Any], provenance: Mapping[str, str]) -> bool:
        if tool != self.tool or not self.arguments.keys() <= arguments.keys():
            return False
        return all(
            _meets(self.arguments[name], value)
            if name in self.arguments
            else provenance.get(name) in OF_THE_USER
            for name, value in arguments.items()
        )

    @property
    def opened(self) -> int:
        """Arguments without a fixed value."""
        return sum(each is ... or callable(each) for each in self.arguments.values())


class Approvals:
    """Approved calls, each good for one call; the caller holds the lock."""

    def __init__(self) -> None:
        self._waiting: list[_Approved] = []

    def add(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Approve one call."""
        self._waiting.append(_Approved(tool, dict(arguments)))

    def take(self, tool: str, arguments: Mapping[str, Any], provenance: Mapping[str, str]) -> bool:
        """Whether an approval fits a call, the narrowest of several; it is then used up."""
        fitting = [each for each in self._waiting if each.fits(tool, arguments, provenance)]
        if not fitting:
            return False
        self._waiting.remove(min(fitting, key=lambda each: each.opened))
        return True


def _meets(approved: Any, value: Any) -> bool:
    if approved is ...:
        return True
    if callable(approved):
        try:
            return approved(value) is True
        except Exception:  # noqa: BLE001 - a condition that fails is not met
            return False
    return same_value(approved, value)
