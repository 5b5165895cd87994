"""Access policies for data sets and models.

    rules (Python, TOML) → `policy`: AccessPolicy → Decision; Cedar text → `cedar`: CedarPolicy
    `acting_as` (subject), `requires` (action, resource) → `enforcement` → call, or AccessDenied
    policy, subject, log → `guard`: AccessGuard → `SecureLoader(access=)`, `Registry(access=)`
    fsspec → `filesystem`, obstore → `objects`, Feast → `feature_store`: each read decided, audited,
                                                                recorded in the training run
    decisions → `decision_log`: batches in a tile log
    files' modes and owners → `permissions` → Findings; S3 policies → `bucket_policy` → Findings

A policy keeps honest code to its rules and records the decisions. It is no boundary against code
in the same process, which can call the function underneath or name any subject: that takes the
operating system, or a server in front.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.access.bucket_policy import lint_bucket_policy as lint_bucket_policy
    from mlsecops.access.cedar import CedarPolicy as CedarPolicy
    from mlsecops.access.decision import AccessDecider as AccessDecider
    from mlsecops.access.decision import Decision as Decision
    from mlsecops.access.decision_log import DecisionLog as DecisionLog
    from mlsecops.access.enforcement import acting_as as acting_as
    from mlsecops.access.enforcement import current_subject as current_subject
    from mlsecops.access.enforcement import requires as requires
    from mlsecops.access.feature_store import GuardedFeatureStore as GuardedFeatureStore
    from mlsecops.access.filesystem import guard_filesystem as guard_filesystem
    from mlsecops.access.guard import AccessGuard as AccessGuard
    from mlsecops.access.objects import GuardedStore as GuardedStore
    from mlsecops.access.permissions import audit_permissions as audit_permissions
    from mlsecops.access.policy import AccessPolicy as AccessPolicy
    from mlsecops.access.policy import Explanation as Explanation
    from mlsecops.access.rule import Rule as Rule
    from mlsecops.access.rule import RuleMatch as RuleMatch
else:
    __all__, __getattr__, __dir__ = lazy_face()
