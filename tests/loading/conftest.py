from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from mlsecops.loading import SecureLoader
from mlsecops.signing import Signer, TrustPolicy

Trusting: TypeAlias = Callable[..., SecureLoader]


@pytest.fixture
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def trusting(signer: Signer) -> Trusting:
    """Makes a loader that trusts the signer."""
    return lambda **options: SecureLoader(TrustPolicy(keys=[signer.public_key]), **options)
