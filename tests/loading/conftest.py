from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TypeAlias

import pytest

from mlsecops.loading import SecureLoader
from mlsecops.loading.holding import mounts
from mlsecops.signing import Signer, TrustPolicy

Trusting: TypeAlias = Callable[..., SecureLoader]


@pytest.fixture
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def trusting(signer: Signer) -> Trusting:
    """Makes a loader that trusts the signer."""
    return lambda **options: SecureLoader(TrustPolicy(keys=[signer.public_key]), **options)


def _can_mount() -> bool:
    """Whether this process may mount, as root on a host may."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            mounts.mount_memory(folder)
        except OSError:
            return False
        mounts.unmount(folder)
        return True


MOUNTS = _can_mount()
