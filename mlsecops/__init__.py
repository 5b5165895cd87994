"""Security controls for the whole life of a machine-learning model.

    bytes → Digest → Manifest → Statement → Bundle          provenance, signing
    path → verify → scan → decode → LoadedModel             loading
    model, data → attacks, screening → report → Gate        robustness, poisoning, llm
    call → guards → model → detectors → Alert → Incident    monitoring, incident

Each name is imported at its first use: `import mlsecops` imports no numpy, cryptography, torch or
OpenTelemetry. Every error of the library is here too (`mlsecops.errors` shows their tree).
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlsecops.access import AccessPolicy as AccessPolicy
    from mlsecops.access import requires as requires
    from mlsecops.adapters import adapt as adapt
    from mlsecops.errors import AccessDenied as AccessDenied
    from mlsecops.errors import CallRefused as CallRefused
    from mlsecops.errors import ChangedDuringLoad as ChangedDuringLoad
    from mlsecops.errors import ContentRefused as ContentRefused
    from mlsecops.errors import DigestMismatch as DigestMismatch
    from mlsecops.errors import EvidenceError as EvidenceError
    from mlsecops.errors import Expired as Expired
    from mlsecops.errors import FormatRefused as FormatRefused
    from mlsecops.errors import FrameworkTooOld as FrameworkTooOld
    from mlsecops.errors import GateFailed as GateFailed
    from mlsecops.errors import GateInconclusive as GateInconclusive
    from mlsecops.errors import IncidentError as IncidentError
    from mlsecops.errors import InputRefused as InputRefused
    from mlsecops.errors import Isolated as Isolated
    from mlsecops.errors import LimitExceeded as LimitExceeded
    from mlsecops.errors import MalformedBundle as MalformedBundle
    from mlsecops.errors import MissingExtra as MissingExtra
    from mlsecops.errors import MLSecOpsError as MLSecOpsError
    from mlsecops.errors import MLSecOpsWarning as MLSecOpsWarning
    from mlsecops.errors import ModelIsolated as ModelIsolated
    from mlsecops.errors import PolicyError as PolicyError
    from mlsecops.errors import RateLimited as RateLimited
    from mlsecops.errors import RegistryError as RegistryError
    from mlsecops.errors import Revoked as Revoked
    from mlsecops.errors import RollbackRefused as RollbackRefused
    from mlsecops.errors import SignatureError as SignatureError
    from mlsecops.errors import SignatureInvalid as SignatureInvalid
    from mlsecops.errors import SignatureMissing as SignatureMissing
    from mlsecops.errors import ThresholdNotMet as ThresholdNotMet
    from mlsecops.errors import UnsafeContent as UnsafeContent
    from mlsecops.errors import UntrustedSigner as UntrustedSigner
    from mlsecops.errors import UsageError as UsageError
    from mlsecops.errors import VerificationError as VerificationError
    from mlsecops.findings import Alert as Alert
    from mlsecops.findings import Finding as Finding
    from mlsecops.findings import Severity as Severity
    from mlsecops.incident import Incident as Incident
    from mlsecops.incident import Playbook as Playbook
    from mlsecops.integrations.protection.blocks import protect as protect
    from mlsecops.llm import fuzz as fuzz
    from mlsecops.loading import Limits as Limits
    from mlsecops.loading import SecureLoader as SecureLoader
    from mlsecops.loading import Verdict as Verdict
    from mlsecops.loading import scan as scan
    from mlsecops.monitoring import Baseline as Baseline
    from mlsecops.monitoring import ExtractionDetector as ExtractionDetector
    from mlsecops.monitoring import Profile as Profile
    from mlsecops.monitoring import monitored as monitored
    from mlsecops.pipeline import SecurePipeline as SecurePipeline
    from mlsecops.poisoning import detect_poisoning as detect_poisoning
    from mlsecops.poisoning import screen_dataset as screen_dataset
    from mlsecops.provenance import Digest as Digest
    from mlsecops.provenance import Manifest as Manifest
    from mlsecops.provenance import Statement as Statement
    from mlsecops.provenance import hash_dataset as hash_dataset
    from mlsecops.provenance import hash_path as hash_path
    from mlsecops.provenance import tracked as tracked
    from mlsecops.provenance import training_run as training_run
    from mlsecops.registry import Registry as Registry
    from mlsecops.reports import build_bom as build_bom
    from mlsecops.reports import verify_bom as verify_bom
    from mlsecops.robustness import FGSM as FGSM
    from mlsecops.robustness import PGD as PGD
    from mlsecops.robustness import Gate as Gate
    from mlsecops.robustness import evaluate_robustness as evaluate_robustness
    from mlsecops.robustness import suite as suite
    from mlsecops.signing import PublicKey as PublicKey
    from mlsecops.signing import Signer as Signer
    from mlsecops.signing import TrustPolicy as TrustPolicy
    from mlsecops.signing import Verified as Verified
    from mlsecops.signing import sign as sign
    from mlsecops.signing import verify as verify
else:
    __all__, __getattr__, __dir__ = lazy_face()
