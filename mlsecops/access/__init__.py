"""Access policies for data sets and models.

    rules (Python, TOML) → `policy`: AccessPolicy → Decision
    `acting_as` (subject), `requires` (action, resource) → `enforcement` → call, or AccessDenied
    files' modes and owners → `permissions` → Findings

A policy keeps honest code to its rules and records the decisions. It is no boundary against code
in the same process, which can call the function underneath or name any subject: that takes the
operating system, or a server in front.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.access.enforcement import acting_as as acting_as
    from mlsecops.access.enforcement import current_subject as current_subject
    from mlsecops.access.enforcement import requires as requires
    from mlsecops.access.permissions import audit_permissions as audit_permissions
    from mlsecops.access.policy import AccessPolicy as AccessPolicy
    from mlsecops.access.policy import Decision as Decision
    from mlsecops.access.policy import Rule as Rule
else:
    __all__, __getattr__, __dir__ = lazy_face()
