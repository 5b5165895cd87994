"""mlsecops: security controls for the whole life of a machine-learning model.

The names below are served lazily: importing the package imports no numpy, cryptography, torch or
OpenTelemetry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.access import AccessPolicy, requires
    from mlsecops.adapters import adapt
    from mlsecops.findings import Alert, Finding, Severity
    from mlsecops.incident import Incident, Playbook
    from mlsecops.llm import fuzz
    from mlsecops.loading import Limits, SecureLoader, Verdict, scan
    from mlsecops.monitoring import Baseline, ExtractionDetector, Profile, monitored
    from mlsecops.pipeline import SecurePipeline
    from mlsecops.poisoning import detect_poisoning, screen_dataset
    from mlsecops.provenance import (
        Digest,
        Manifest,
        Statement,
        hash_dataset,
        hash_path,
        tracked,
        training_run,
    )
    from mlsecops.registry import Registry
    from mlsecops.reports import build_bom, verify_bom
    from mlsecops.robustness import FGSM, PGD, Gate, evaluate_robustness, suite
    from mlsecops.signing import PublicKey, Signer, TrustPolicy, Verified, sign, verify

__version__ = "0.1.0"

_HOMES: Final = {
    "mlsecops.access": ("AccessPolicy", "requires"),
    "mlsecops.adapters": ("adapt",),
    "mlsecops.findings": ("Alert", "Finding", "Severity"),
    "mlsecops.incident": ("Incident", "Playbook"),
    "mlsecops.llm": ("fuzz",),
    "mlsecops.loading": ("Limits", "SecureLoader", "Verdict", "scan"),
    "mlsecops.monitoring": ("Baseline", "ExtractionDetector", "Profile", "monitored"),
    "mlsecops.pipeline": ("SecurePipeline",),
    "mlsecops.poisoning": ("detect_poisoning", "screen_dataset"),
    "mlsecops.provenance": (
        "Digest",
        "Manifest",
        "Statement",
        "hash_dataset",
        "hash_path",
        "tracked",
        "training_run",
    ),
    "mlsecops.registry": ("Registry",),
    "mlsecops.reports": ("build_bom", "verify_bom"),
    "mlsecops.robustness": ("FGSM", "PGD", "Gate", "evaluate_robustness", "suite"),
    "mlsecops.signing": ("PublicKey", "Signer", "TrustPolicy", "Verified", "sign", "verify"),
}

__all__ = [
    "FGSM",
    "PGD",
    "AccessPolicy",
    "Alert",
    "Baseline",
    "Digest",
    "ExtractionDetector",
    "Finding",
    "Gate",
    "Incident",
    "Limits",
    "Manifest",
    "Playbook",
    "Profile",
    "PublicKey",
    "Registry",
    "SecureLoader",
    "SecurePipeline",
    "Severity",
    "Signer",
    "Statement",
    "TrustPolicy",
    "Verdict",
    "Verified",
    "adapt",
    "build_bom",
    "detect_poisoning",
    "evaluate_robustness",
    "fuzz",
    "hash_dataset",
    "hash_path",
    "monitored",
    "requires",
    "scan",
    "screen_dataset",
    "sign",
    "suite",
    "tracked",
    "training_run",
    "verify",
    "verify_bom",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_face(__name__, _HOMES, globals())
