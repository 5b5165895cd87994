"""Access control protocol: each call is decided and recorded before it takes effect.

action, resource, attributes → `AccessControl` → nothing, or AccessDenied
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["AccessControl"]


class AccessControl(Protocol):
    """What a loader or registry asks before it acts, such as an `access.AccessGuard`."""

    def demand(
        self, action: str, resource: str, *, attributes: Mapping[str, Any] | None = None
    ) -> object:
        """Demand that the current subject may do this.

        Args:
            action: Such as `model:load`.
            resource: Such as a model's name.
            attributes: What conditions are compared with.

        Raises:
            AccessDenied: It may not, or the decision failed or cannot be recorded.
        """
