"""Who may read which data set or model.

Rules (from Python or TOML) make an `AccessPolicy`; the policy judges a subject, an action and a
resource and gives a `Decision`; `requires` asks it before a function runs, with the subject that
`acting_as` named, and raises `AccessDenied` unless a rule allows it and none denies it.
`audit_permissions` looks at the other half: who may write the files themselves.

This is no boundary against code in the same process: such code can call the function underneath,
or name any subject. It keeps honest code to the policy and leaves a record of decisions; the
boundary is the operating system's, or a server's in front.
"""

from mlsecops.access.enforcement import acting_as, current_subject, requires
from mlsecops.access.permissions import audit_permissions
from mlsecops.access.policy import AccessPolicy, Decision, Rule

__all__ = [
    "AccessPolicy",
    "Decision",
    "Rule",
    "acting_as",
    "audit_permissions",
    "current_subject",
    "requires",
]
