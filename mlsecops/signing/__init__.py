"""Who vouches for an artifact.

A Manifest becomes a payload (``oms``), the payload an :class:`Envelope` signed by a :class:`Signer`
(``envelope``, ``keys``), the envelope a :class:`Bundle` on disk (``bundle``, ``signature``). Back:
a bundle and a :class:`TrustPolicy` give a :class:`SignedModel`, and with the files' own manifest a
:class:`Verified` (``verifier``, ``policy``, ``certificates``).
"""

from mlsecops.provenance.tree import SIGNATURE_NAME
from mlsecops.signing.bundle import Bundle, read_bundle
from mlsecops.signing.envelope import Envelope, Signature
from mlsecops.signing.keys import KeySigner, PublicKey, Signer
from mlsecops.signing.policy import Scope, TrustedKey, TrustedRoot, TrustPolicy
from mlsecops.signing.signature import bundle_path, ignore_for, sign
from mlsecops.signing.verifier import SignedModel, Verified, Verifier, verify

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
    "ignore_for",
    "read_bundle",
    "sign",
    "verify",
]
