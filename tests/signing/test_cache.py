from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.provenance import StatCache
from mlsecops.signing import KeySigner, TrustPolicy, sign, verify
from tests.attackers.signing import flip_byte


def test_a_cached_verification_still_sees_an_edit_that_keeps_size_and_time(
    model: Path, tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    cache = tmp_path / "digests.sqlite"
    sign(model, signer, cache=cache)
    for form in (cache, str(cache), StatCache(cache)):
        assert verify(model, policy=policy, cache=form).name == "model"
    flip_byte(model / "layers" / "0.bin")
    with pytest.raises(errors.DigestMismatch, match=r"layers/0\.bin"):
        verify(model, policy=policy, cache=cache)


def test_a_cache_cannot_vouch_for_a_bundle(
    model: Path, tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    cache = tmp_path / "digests.sqlite"
    sign(model, signer, cache=cache)
    flip_byte(model / "model.sig", offset=200)
    with pytest.raises(errors.SignatureError):
        verify(model, policy=policy, cache=cache)


def test_the_commands_take_a_cache(model: Path, tmp_path: Path, signer: KeySigner) -> None:
    key, public = tmp_path / "k.pem", tmp_path / "k.pub.pem"
    key.write_bytes(signer.to_pem())
    public.write_text(signer.public_key.pem)
    cache = ["--cache", str(tmp_path / "digests.sqlite")]
    assert main(["sign", str(model), "--key", str(key), "--model-version", "2", *cache]) == 0
    verify_words = ["verify", str(model), "--key", str(public), "--at", "2030-01-01", *cache]
    assert main(verify_words) == 0
    flip_byte(model / "config.json")
    assert main(verify_words) == 1
