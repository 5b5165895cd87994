"""Signers and trust where a model goes through somebody else's registry."""

import pytest

from mlsecops.signing import Signer, TrustPolicy


@pytest.fixture
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def policy(signer: Signer) -> TrustPolicy:
    return TrustPolicy(keys=[signer.public_key])
