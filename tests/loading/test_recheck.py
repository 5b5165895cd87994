import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import Isolated, PolicyError, Revoked, UntrustedSigner, UsageError
from mlsecops.loading import SecureLoader
from mlsecops.provenance import Digest
from mlsecops.registry import Registry
from mlsecops.signing import Scope, Signer, TrustedKey, TrustPolicy, sign

NEVER = 3600.0


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


@pytest.fixture
def file(tmp_path: Path, signer: Signer) -> Path:
    np.save(tmp_path / "model.npy", np.arange(5))
    sign(tmp_path / "model.npy", signer)
    return tmp_path / "model.npy"


class Deny:
    """Isolates what it is told to, or fails."""

    def __init__(self) -> None:
        self.digests: Any = set()
        self.down = False

    def isolated(self, digest: Any) -> Any:
        if self.down:
            raise OSError("registry unreachable")
        return "incident 7" if digest in self.digests else None


def test_a_model_that_is_isolated_later_may_not_be_used_until_that_ends(
    file: Path, signer: Signer
) -> None:
    deny = Deny()
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), isolation=deny)
    loaded = loader.load(file)
    with loader.watch(loaded, interval=NEVER) as watch:
        watch.require()
        for digest in (loaded.digest, next(iter(loaded.verified.manifest)).digest):
            deny.digests = {digest}
            assert not watch.check()
            with pytest.raises(Isolated, match="incident 7"):
                watch.require()
        deny.digests = set()
        assert watch.check()
        watch.require()


def test_what_a_later_policy_revokes_or_no_longer_trusts_is_seen(
    file: Path, signer: Signer
) -> None:
    keys = [signer.public_key]
    policies = {"now": TrustPolicy(keys=keys)}
    loader = SecureLoader(policies["now"])
    loaded = loader.load(file)
    with loader.watch(loaded, interval=NEVER, policy=lambda: policies["now"]) as watch:
        policies["now"] = TrustPolicy(keys=keys, revoked=[str(loaded.digest)])
        watch.check()
        with pytest.raises(Revoked):
            watch.require()
        policies["now"] = TrustPolicy(keys=keys, revoked=[signer.public_key.fingerprint])
        assert not watch.check()
        policies["now"] = TrustPolicy(keys=[Signer.generate("p256").public_key])
        watch.check()
        with pytest.raises(UntrustedSigner):
            watch.require()


def test_where_nobody_can_say_it_may_not_be_used(file: Path, signer: Signer) -> None:
    deny = Deny()
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), isolation=deny)
    with loader.watch(loader.load(file), interval=NEVER) as watch:
        deny.down = True
        watch.check()
        with pytest.raises(PolicyError, match=r"cannot check whether.*registry unreachable"):
            watch.require()


def test_the_interval_finds_it_and_tells_once(file: Path, signer: Signer) -> None:
    told, twice = [], threading.Event()
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]))
    loaded = loader.load(file)

    class Counting(Deny):
        calls = 0

        def isolated(self, digest: Any) -> Any:  # noqa: ARG002 - it answers by count
            self.calls += 1
            if self.calls > 12:  # the first check and several of the thread's
                twice.set()
            return None if self.calls < 4 else "incident 7"

    def notify(error: Any) -> None:
        told.append(error)
        raise RuntimeError("the caller's own fault")

    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), isolation=Counting())
    watch = loader.watch(loaded, interval=0.01, notify=notify)
    assert twice.wait(30)
    watch.close()
    assert [type(error) for error in told] == [Isolated]
    assert not watch._thread.is_alive()
    with pytest.raises(Isolated):
        watch.require()


def test_a_registrys_quarantine_reaches_a_model_in_use(tmp_path: Path, signer: Signer) -> None:
    policy = TrustPolicy(keys=[signer.public_key])
    folder = tmp_path / "model"
    folder.mkdir()
    np.save(folder / "model.npy", np.arange(5))
    sign(folder, signer)
    registry = Registry(tmp_path / "registry", signer=signer, policy=policy)
    registry.publish("digits", folder)
    loader = SecureLoader(policy, isolation=registry)
    with loader.watch(loader.load(folder), interval=NEVER) as watch:
        registry.quarantine("digits", "poisoned data")
        assert not watch.check()
        with pytest.raises(Isolated, match="poisoned data"):
            watch.require()


def test_an_interval_must_be_positive(file: Path, signer: Signer) -> None:
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]))
    with pytest.raises(UsageError, match="interval"):
        loader.watch(loader.load(file), interval=0)


def test_a_name_that_a_later_policy_restricts_is_compared(tmp_path: Path, signer: Signer) -> None:
    np.save(tmp_path / "model.npy", np.arange(5))
    sign(tmp_path / "model.npy", signer, name="another.npy")
    keys = [signer.public_key]
    loader = SecureLoader(TrustPolicy(keys=keys))
    loaded = loader.load(tmp_path / "model.npy")
    scoped = TrustPolicy(keys=[TrustedKey(signer.public_key, Scope(models=("another.npy",)))])
    with loader.watch(loaded, interval=NEVER, policy=lambda: scoped) as watch:
        assert not watch.check()
        with pytest.raises(UntrustedSigner, match=r"model\.npy"):
            watch.require()
    pinned = loader.load(tmp_path / "model.npy", digest=loaded.digest)
    with loader.watch(pinned, interval=NEVER, policy=lambda: scoped) as watch:
        assert watch.check()


def test_a_leaked_key_reaches_loads_and_models_in_use(file: Path, signer: Signer) -> None:
    deny = Deny()
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), isolation=deny)
    with loader.watch(loader.load(file), interval=NEVER) as watch:
        deny.digests = {Digest.parse(f"sha256:{signer.public_key.fingerprint}")}
        assert not watch.check()
    with pytest.raises(Isolated, match="leaked"):
        loader.load(file)
    other = Signer.generate("ed25519")
    both = TrustPolicy(keys=[signer.public_key, other.public_key])
    sign(file, other, add=True)
    assert SecureLoader(both, isolation=deny).load(file).digest


def test_isolation_is_looked_at_between_the_checks(
    file: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.loading.recheck._LOOK", 0.02)
    deny, told = Deny(), threading.Event()
    loader = SecureLoader(TrustPolicy(keys=[signer.public_key]), isolation=deny)
    loaded = loader.load(file)
    with loader.watch(loaded, interval=NEVER, notify=lambda _: told.set()) as watch:
        deny.digests = {loaded.digest}
        assert told.wait(20)
        with pytest.raises(Isolated):
            watch.require()


def test_a_loader_uses_the_last_answer_for_as_long_as_it_is_told(
    file: Path, signer: Signer
) -> None:
    deny = Deny()
    policy = TrustPolicy(keys=[signer.public_key])
    strict, patient = (
        SecureLoader(policy, isolation=deny, stale_after=seconds) for seconds in (0.0, 1e6)
    )
    for loader in (strict, patient):
        loader.load(file)
    deny.down = True
    patient.load(file)
    with pytest.raises(Isolated, match=r"cannot check.*registry unreachable"):
        strict.load(file)
