from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from mlsecops import errors
from mlsecops.signing import (
    Bundle,
    KeySigner,
    Scope,
    Signer,
    TrustedKey,
    TrustPolicy,
    http_authority,
    sign,
    verify,
)
from mlsecops.signing.keys import KeyType
from tests.attackers.signing import edit_bundle
from tests.signing.authorities import Authority, TimestampAuthority

pytest.importorskip("rfc3161_client")

NOW = datetime.now(UTC)
"""The authority is a program that reads the machine's clock; everything else is relative to it."""

LATER = NOW + timedelta(days=100)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


@pytest.fixture
def short_lived(authority: Authority) -> KeySigner:
    return authority.signer(begin=NOW - timedelta(days=1), days=2)


def test_an_expired_certificate_counts_when_a_trusted_stamp_says_it_was_valid(
    model: Path, authority: Authority, clock: TimestampAuthority, short_lived: KeySigner
) -> None:
    sign(model, short_lived, timestamp=clock)
    trusting = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    assert verify(model, policy=trusting, at=LATER).signers == ("CN=release",)
    with pytest.raises(errors.Expired, match="CN=release"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]), at=LATER)


def test_other_verifiers_read_a_stamped_bundle(
    model: Path, clock: TimestampAuthority, signer: KeySigner, tmp_path: Path
) -> None:
    theirs = pytest.importorskip("model_signing")
    sign(model, signer, timestamp=clock)
    public = tmp_path / "key.pub.pem"
    public.write_text(signer.public_key.pem)
    config = theirs.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(model, model / "model.sig")


def test_a_stamp_of_an_untrusted_authority_does_not_count(
    model: Path, authority: Authority, clock: TimestampAuthority, short_lived: KeySigner
) -> None:
    sign(model, short_lived, timestamp=clock)
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[Authority.root("time").pem()])
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=LATER)


def test_a_stamp_over_another_signature_does_not_count(
    model: Path, authority: Authority, clock: TimestampAuthority, short_lived: KeySigner
) -> None:
    stamped = sign(model, short_lived, timestamp=clock)
    again = sign(model, short_lived)
    assert again.envelope.payload == stamped.envelope.payload
    Bundle(
        envelope=again.envelope, certificates=again.certificates, timestamps=stamped.timestamps
    ).save(model / "model.sig")
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=LATER)


def test_a_stamp_from_after_the_end_does_not_help(
    model: Path, authority: Authority, clock: TimestampAuthority
) -> None:
    sign(model, authority.signer(begin=NOW - timedelta(days=9), days=2), timestamp=clock)
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=LATER)


def test_a_stamp_from_the_future_does_not_count(
    model: Path, authority: Authority, clock: TimestampAuthority, short_lived: KeySigner
) -> None:
    sign(model, short_lived, timestamp=clock)
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=NOW - timedelta(days=50))


@pytest.mark.parametrize("mark", ["certificate", "key"])
def test_a_revoked_clock_does_not_count(
    model: Path,
    authority: Authority,
    clock: TimestampAuthority,
    short_lived: KeySigner,
    mark: str,
) -> None:
    sign(model, short_lived, timestamp=clock)
    revoked = {
        "certificate": clock.signer.certificates[0].fingerprint(hashes.SHA256()).hex(),
        "key": clock.signer.public_key.fingerprint,
    }
    policy = TrustPolicy(
        roots=[authority.pem()], timestamp_roots=[clock.root.pem()], revoked=[revoked[mark]]
    )
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=LATER)


def test_a_retired_key_s_old_signatures_count_when_a_stamp_dates_them(
    model: Path, clock: TimestampAuthority, signer: KeySigner
) -> None:
    sign(model, signer, timestamp=clock)
    retired = TrustedKey(signer.public_key, Scope(not_after=NOW + timedelta(days=1)))
    policy = TrustPolicy(keys=[retired], timestamp_roots=[clock.root.pem()])
    assert verify(model, policy=policy, at=LATER).name == "model"
    with pytest.raises(errors.Expired, match="is trusted from"):
        verify(model, policy=TrustPolicy(keys=[retired]), at=LATER)


def test_each_of_several_signatures_has_its_stamp(
    model: Path, clock: TimestampAuthority, signer: KeySigner
) -> None:
    second = Signer.generate("ed25519")
    bundle = sign(model, [signer, second], timestamp=clock)
    assert len(bundle.timestamps) == 2
    until = Scope(not_after=NOW + timedelta(days=1))
    keys = [TrustedKey(one.public_key, until) for one in (signer, second)]
    policy = TrustPolicy(keys=keys, threshold=2, timestamp_roots=[clock.root.pem()])
    assert len(verify(model, policy=policy, at=LATER).signers) == 2


def test_no_bit_of_a_stamp_that_is_needed_can_change(
    model: Path, authority: Authority, clock: TimestampAuthority, short_lived: KeySigner
) -> None:
    bundle = sign(model, short_lived, timestamp=clock)
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    stamp = bundle.timestamps[0]
    survived = []
    for offset in range(0, len(stamp), 7):
        changed = bytearray(stamp)
        changed[offset] ^= 0x10
        Bundle(
            envelope=bundle.envelope,
            certificates=bundle.certificates,
            timestamps=(bytes(changed),),
        ).save(model / "model.sig")
        try:
            verify(model, policy=policy, at=LATER)
        except errors.Expired:
            continue
        survived.append(offset)
    # The wrapper around the signed token (status, algorithm parameters) is not signed itself.
    assert len(survived) < 0.05 * len(stamp) / 7


@pytest.mark.parametrize("noise", [b"", b"\x30\x03\x02\x01\x02", b"noise" * 99, b"\x30\x80"])
def test_noise_for_a_stamp_is_no_stamp(
    model: Path,
    authority: Authority,
    clock: TimestampAuthority,
    short_lived: KeySigner,
    noise: bytes,
) -> None:
    bundle = sign(model, short_lived)
    Bundle(envelope=bundle.envelope, certificates=bundle.certificates, timestamps=(noise,)).save(
        model / "model.sig"
    )
    policy = TrustPolicy(roots=[authority.pem()], timestamp_roots=[clock.root.pem()])
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=LATER)
    with pytest.raises(errors.SignatureInvalid, match="not a time stamp"):
        sign(model, short_lived, timestamp=lambda _: noise)


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
def test_an_authority_that_replays_an_old_answer_is_refused(
    model: Path, clock: TimestampAuthority, key_type: KeyType
) -> None:
    # Ed25519 signs the same bytes the same way, so that only the nonce tells the answers apart.
    signer = Signer.generate(key_type)
    old = sign(model, signer, timestamp=clock).timestamps[0]
    with pytest.raises(errors.SignatureInvalid, match="another request"):
        sign(model, signer, timestamp=lambda _: old)


@pytest.mark.parametrize(
    "value", [{"rfc3161Timestamps": 3}, {"rfc3161Timestamps": [{}]}, 3, {"rfc3161Timestamps": [3]}]
)
def test_a_malformed_list_of_stamps_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy, value: object
) -> None:
    sign(model, signer)

    def put(bundle: dict[str, dict[str, object]]) -> None:
        bundle["verificationMaterial"]["timestampVerificationData"] = value

    edit_bundle(model / "model.sig", put)
    with pytest.raises(errors.MalformedBundle):
        verify(model, policy=policy)


def test_an_unreachable_or_odd_authority_is_the_caller_s_error(
    model: Path, signer: KeySigner
) -> None:
    with pytest.raises(errors.UsageError, match="expected an http"):
        http_authority("file:///etc/passwd")
    with pytest.raises(errors.UsageError, match="cannot reach"):
        sign(model, signer, timestamp=http_authority("http://127.0.0.1:9/", timeout=1))
