"""Signatures over manifests, and their verification under a trust policy.

    sign:   Manifest → `oms` payload → `envelope` (DSSE), signed by a Signer (`keys`)
            → `bundle` on disk (`signature`)
    verify: `bundle` + `policy` (`policy_file`, `scope`), expected name (`naming`)
            → `verifier` (`signers`, `certificates`, `identities`, `timestamps`, `requirements`)
            → SignedModel → + files' Manifest (`verification`) → `verified`: Verified

`checks` finds secrets and others' bundles before one is written, `shards` signs parts of files,
`authority` requests time stamps, `legacy` reads v0.2.0 bundles, `detached` handles bare RSA
signatures next to a file.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.provenance.files.tree import SIGNATURE_NAME as SIGNATURE_NAME
    from mlsecops.signing.authority import http_authority as http_authority
    from mlsecops.signing.bundle import Bundle as Bundle
    from mlsecops.signing.bundle import read_bundle as read_bundle
    from mlsecops.signing.detached import sign_detached as sign_detached
    from mlsecops.signing.detached import verify_detached as verify_detached
    from mlsecops.signing.envelope import Envelope as Envelope
    from mlsecops.signing.envelope import Signature as Signature
    from mlsecops.signing.identities.identity import Identity as Identity
    from mlsecops.signing.keys import KeySigner as KeySigner
    from mlsecops.signing.keys import PublicKey as PublicKey
    from mlsecops.signing.keys import Signer as Signer
    from mlsecops.signing.naming import ExpectedName as ExpectedName
    from mlsecops.signing.naming import expected_name as expected_name
    from mlsecops.signing.policy import TrustPolicy as TrustPolicy
    from mlsecops.signing.requirements.requirement import Requirement as Requirement
    from mlsecops.signing.requirements.requirement import RobustnessFloor as RobustnessFloor
    from mlsecops.signing.scope import Scope as Scope
    from mlsecops.signing.scope import TrustedKey as TrustedKey
    from mlsecops.signing.scope import TrustedRoot as TrustedRoot
    from mlsecops.signing.signature import bundle_path as bundle_path
    from mlsecops.signing.signature import ignore_for as ignore_for
    from mlsecops.signing.signature import sign as sign
    from mlsecops.signing.signature import sign_manifest as sign_manifest
    from mlsecops.signing.signature import without_bundle as without_bundle
    from mlsecops.signing.verification import verify as verify
    from mlsecops.signing.verified import SignedModel as SignedModel
    from mlsecops.signing.verified import Verified as Verified
    from mlsecops.signing.verifier import Verifier as Verifier
else:
    __all__, __getattr__, __dir__ = lazy_face()
