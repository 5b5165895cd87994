"""Who vouches for an artifact.

A Manifest becomes a payload (`oms`), the payload an `Envelope` signed by a `Signer`
(`envelope`, `keys`), the envelope a `Bundle` on disk (`bundle`, `signature`). Back:
a bundle and a `TrustPolicy` give a `SignedModel` (`policy`, `signers`,
`certificates`, `timestamps`), and with the files' own manifest a `Verified`
(`verifier`, `verification`). `legacy` reads what the first release of the format wrote,
`detached` the bare signatures that many pipelines keep beside a file.

The names are served lazily, so that a command pays only for the modules it needs.
"""

from typing import TYPE_CHECKING, Final

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.provenance.files.tree import SIGNATURE_NAME
    from mlsecops.signing.authority import http_authority
    from mlsecops.signing.bundle import Bundle, read_bundle
    from mlsecops.signing.detached import sign_detached, verify_detached
    from mlsecops.signing.envelope import Envelope, Signature
    from mlsecops.signing.keys import KeySigner, PublicKey, Signer
    from mlsecops.signing.policy import TrustPolicy
    from mlsecops.signing.scope import Scope, TrustedKey, TrustedRoot
    from mlsecops.signing.signature import (
        bundle_path,
        ignore_for,
        sign,
        sign_manifest,
        without_bundle,
    )
    from mlsecops.signing.verification import verify
    from mlsecops.signing.verified import SignedModel, Verified
    from mlsecops.signing.verifier import Verifier

_HOMES: Final = {
    "mlsecops.provenance.files.tree": ("SIGNATURE_NAME",),
    "mlsecops.signing.bundle": ("Bundle", "read_bundle"),
    "mlsecops.signing.detached": ("sign_detached", "verify_detached"),
    "mlsecops.signing.envelope": ("Envelope", "Signature"),
    "mlsecops.signing.keys": ("KeySigner", "PublicKey", "Signer"),
    "mlsecops.signing.policy": ("TrustPolicy",),
    "mlsecops.signing.scope": ("Scope", "TrustedKey", "TrustedRoot"),
    "mlsecops.signing.signature": (
        "bundle_path",
        "ignore_for",
        "sign",
        "sign_manifest",
        "without_bundle",
    ),
    "mlsecops.signing.authority": ("http_authority",),
    "mlsecops.signing.verification": ("verify",),
    "mlsecops.signing.verified": ("SignedModel", "Verified"),
    "mlsecops.signing.verifier": ("Verifier",),
}

__all__ = [
    "SIGNATURE_NAME",
    "Bundle",
    "Envelope",
    "KeySigner",
    "PublicKey",
    "Scope",
    "Signature",
    "SignedModel",
    "Signer",
    "TrustPolicy",
    "TrustedKey",
    "TrustedRoot",
    "Verified",
    "Verifier",
    "bundle_path",
    "http_authority",
    "ignore_for",
    "read_bundle",
    "sign",
    "sign_detached",
    "sign_manifest",
    "verify",
    "verify_detached",
    "without_bundle",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_face(__name__, _HOMES, globals())
