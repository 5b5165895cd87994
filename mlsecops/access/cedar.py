"""Cedar policies behind the protocol of access policies.

Cedar text, schema, entities → CedarPolicy; subject, action, resource, attributes → Decision

Cedar skips a `forbid` whose attribute is absent, and so fails open. Therefore a schema is mandatory
and policies are validated against it; a request whose decision reports an error, or that has no
decision, is denied.

Source: Cedar policy language 4, "Authorization" (errors while evaluating a policy) and "Schema".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.access.decision import Decision, DemandingDecider
from mlsecops.access.names import normal_name
from mlsecops.errors import UsageError

__all__ = ["CedarPolicy"]

_LONGEST: Final = 4096  # characters of a name; chosen: PATH_MAX of Linux
_DEEPEST: Final = 64  # folders above a resource; chosen: what lies deeper is denied


@concise_repr("_types")
class CedarPolicy(DemandingDecider):
    """Policies in the Cedar language, which decide like an `AccessPolicy`.

    Subjects, actions and resources are entities whose ids are the names in normal form. A resource
    lies `in` each folder above it: `resource in Resource::"payments"` covers `payments/hr`.
    `attributes` of a request become its context.

    Args:
        policies: Policies as Cedar text.
        schema: Schema as Cedar text or JSON values. It names the three entity types; the
            resource's type is declared a member of itself (`entity Resource in [Resource];`).
        entities: Further entities, such as the groups that subjects are in, as Cedar JSON.
        types: Entity types of subject, action and resource.
        time_attribute: Name of the context's attribute that is the time in seconds since 1970, or
            None where policies do not ask for the time.
        clock: Time of a decision without `at`, timezone-aware.

    Raises:
        UsageError: The policies, schema or entities are malformed or do not fit each other.
        MissingExtra: cedarpy is not installed.
    """

    @checked
    def __init__(
        self,
        policies: str,
        *,
        schema: str | Mapping[str, Any],
        entities: Sequence[Mapping[str, Any]] = (),
        types: tuple[str, str, str] = ("User", "Action", "Resource"),
        time_attribute: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cedar = require("cedarpy")
        self._types = types
        self._clock = clock
        text = schema if isinstance(schema, str) else json.dumps(schema)
        try:
            form = self._cedar.Schema
            made = form.from_str(text) if isinstance(schema, str) else form.from_json_str(text)
            self._policies = self._cedar.PolicySet.from_str(policies)
            given = json.dumps([dict(each) for each in entities])
            self._entities = self._cedar.Entities.from_json_str(given, made)
            found = self._cedar.validate_policies(policies, made)
        except (ValueError, TypeError) as error:
            raise UsageError(f"Cedar policies: {str(error)[:300]}") from error
        if not found.validation_passed:
            raise UsageError(f"Cedar policies do not fit their schema: {str(found.errors)[:300]}")
        self._schema = made
        self._time_attribute = time_attribute

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

        Args:
            subject: Subject that asks.
            action: Action that it asks for.
            resource: Resource of the action.
            attributes: Context of the request.
            at: Time of the request, timezone-aware; now by default.
        """
        given = subject, action, resource
        names = [normal_name(each) if _short(each) else None for each in given]
        who, what, where = (new or str(old) for new, old in zip(names, given, strict=True))
        try:
            allowed, reason = self._judge(names, dict(attributes or {}), at)
        except Exception as error:  # noqa: BLE001 - any error while deciding is a denial
            allowed, reason = False, f"error while deciding: {type(error).__name__}: {error}"[:300]
        return Decision(allowed=allowed, subject=who, action=what, resource=where, reason=reason)

    def _judge(
        self, names: Sequence[str | None], context: dict[str, Any], at: datetime | None
    ) -> tuple[bool, str]:
        if not all(names):
            return False, "a name is empty, too long or in another spelling"
        parts = str(names[2]).split("/")
        if len(parts) > _DEEPEST:
            return False, f"a resource lies deeper than {_DEEPEST} folders"
        if self._time_attribute is not None:
            context[self._time_attribute] = int((at or self._clock()).timestamp())
        keys = ("principal", "action", "resource")
        request: dict[str, Any] = {
            key: {"type": kind, "id": name}
            for key, kind, name in zip(keys, self._types, names, strict=True)
        }
        entities = self._entities.with_added_json_str(_folders(self._types[2], parts))
        result = self._cedar.is_authorized(
            {**request, "context": context}, self._policies, entities, self._schema
        )
        if result.diagnostics.errors:
            return False, f"error while deciding: {result.diagnostics.errors[0]}"[:300]
        allowed = result.decision == self._cedar.Decision.Allow
        rules = ", ".join(result.diagnostics.reasons)
        return allowed, f"Cedar: {result.decision.value} by {rules or 'no policy'}"


def _folders(kind: str, parts: Sequence[str]) -> str:
    """A resource and each folder above it, as Cedar JSON."""
    names = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return json.dumps(
        [
            {
                "uid": {"type": kind, "id": name},
                "attrs": {},
                "parents": [{"type": kind, "id": names[at - 1]}] if at else [],
            }
            for at, name in enumerate(names)
        ]
    )


def _short(name: object) -> bool:
    return isinstance(name, str) and len(name) <= _LONGEST
