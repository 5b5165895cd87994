"""Signatures in MLflow's model registry, verified at every load.

    log_model → publish ──────→ version with tags ← copy_version, sign_version
                                      │
    load_model → protect → private copy → verify → MLflow loads that copy
                                      │
                promote, rollback: an alias moves to a version that verifies

`publish` signs first and registers afterwards, with the signature: a version is never unsigned.
MLflow itself verifies nothing when it loads.

Limits: whoever controls the database can hide versions and move aliases among versions that verify,
down to the policy's floor. Loads from a path or another scheme (`file:`, `s3:`) are not verified,
but `protect(policy, others="refuse")` refuses them. A signed model may be a pickle: the signer
vouches for its code.

Source: MLflow 3 `artifact_repository_registry` and `models_artifact_repo`.
"""

from mlsecops.integrations.mlflow.protection import protect
from mlsecops.integrations.mlflow.publication import (
    Published,
    copy_version,
    promote,
    publish,
    rollback,
    sign_version,
)
from mlsecops.integrations.mlflow.signatures import BUNDLE, DIGEST, VERSION

__all__ = [
    "BUNDLE",
    "DIGEST",
    "VERSION",
    "Published",
    "copy_version",
    "promote",
    "protect",
    "publish",
    "rollback",
    "sign_version",
]
