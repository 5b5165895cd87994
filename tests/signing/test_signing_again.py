"""Signing where a bundle is already: nobody's signature or statement is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mlsecops import errors
from mlsecops.provenance import Statement, hash_path
from mlsecops.signing import (
    Bundle,
    KeySigner,
    PublicKey,
    Signer,
    TrustPolicy,
    bundle_path,
    sign,
    sign_detached,
    sign_manifest,
    verify,
)
from mlsecops.signing.bundle import MAX_SIGNATURES
from tests.attackers.signing import edit_bundle, flip_byte
from tests.signing.authorities import Authority

OTHER, THIRD, RSA = (Signer.generate(kind) for kind in ("ed25519", "p384", "rsa"))


class Remote(Signer):
    """A signer in a device, which may answer wrongly or have another key's certificate."""

    def __init__(
        self,
        inner: KeySigner,
        answer: Callable[[bytes], Any],
        certificates: tuple[x509.Certificate, ...] = (),
    ) -> None:
        self._inner, self._answer, self._certificates = inner, answer, certificates

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        return self._certificates

    def sign(self, data: bytes) -> bytes:
        return self._answer(self._inner.sign(data))  # type: ignore[no-any-return] # on purpose


def claim(model: Path, kind: str = "urn:test", **predicate: object) -> Statement:
    root = hash_path(model).root
    return Statement.build(subjects={"m": root}, predicate_type=kind, predicate=predicate)


def all_of(*signers: Signer) -> TrustPolicy:
    return TrustPolicy(keys=[each.public_key for each in signers], threshold=len(signers))


def raw(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_signatures_are_added_one_machine_after_the_other(model: Path, signer: KeySigner) -> None:
    statement = claim(model)
    first = sign(model, signer, statements=[statement], name="fraud", version=3)
    sign(model, OTHER, add=True)
    sign(model, [RSA, THIRD], add=True)
    verified = verify(model, policy=all_of(signer, OTHER, RSA, THIRD), name="fraud")
    assert verified.version == 3
    assert [each.payload for each in verified.statements] == [statement.payload]
    after = Bundle.load(model / "model.sig")
    assert after.envelope.payload == first.envelope.payload
    assert after.envelope.signatures[0].value == first.envelope.signatures[0].value


def test_adding_again_keeps_the_signature_that_holds(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    before = sign(model, OTHER, add=True).to_bytes()
    assert sign(model, [signer, OTHER], add=True).to_bytes() == before

    def break_it(value: dict[str, Any]) -> None:
        signatures = value["dsseEnvelope"]["signatures"]
        signatures[1]["sig"] = signatures[0]["sig"]

    edit_bundle(model / "model.sig", break_it)
    sign(model, OTHER, add=True)
    assert len(verify(model, policy=all_of(signer, OTHER)).signers) == 2


@pytest.mark.parametrize("shards", [None, 4])
def test_a_single_file_and_shards_take_further_signatures(
    model: Path, signer: KeySigner, shards: int | None
) -> None:
    for path in (model / "config.json", model):
        sign(path, signer, algorithm="sha512", shard_size=shards, ignore=["layers"])
        sign(path, OTHER, add=True)
        assert len(verify(path, policy=all_of(signer, OTHER)).signers) == 2
        bundle_path(path).unlink()


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_nothing_is_added_over_files_that_differ(
    model: Path, signer: KeySigner, change: str
) -> None:
    sign(model, signer)
    before = (model / "model.sig").read_bytes()
    if change == "changed":
        flip_byte(model / "layers-1.bin")
    elif change == "added":
        (model / "extra.bin").write_bytes(b"x")
    else:
        (model / "config.json").unlink()
    with pytest.raises(errors.DigestMismatch):
        sign(model, OTHER, add=True)
    assert (model / "model.sig").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        {"name": "another"},
        {"version": 4},
        {"algorithm": "sha512"},
        {"replace": True},
    ],
)
def test_adding_signs_what_is_there_and_nothing_else(
    model: Path, signer: KeySigner, options: dict[str, Any]
) -> None:
    statement = claim(model)
    sign(model, signer, statements=[statement])
    before = (model / "model.sig").read_bytes()
    for wanted in (options, {"statements": [claim(model, other=1)]}):
        with pytest.raises(errors.UsageError):
            sign(model, OTHER, add=True, **wanted)
    assert (model / "model.sig").read_bytes() == before
    sign(model, OTHER, add=True, name="model", statements=[statement])


def test_adding_needs_a_bundle_of_bare_keys(model: Path, signer: KeySigner) -> None:
    with pytest.raises(errors.SignatureMissing):
        sign(model, signer, add=True)
    certified = Authority.root().signer()
    sign(model, certified)
    with pytest.raises(errors.UsageError, match="one certificate chain"):
        sign(model, signer, add=True)
    sign(model, signer, replace=True)
    with pytest.raises(errors.UsageError, match="one certificate chain"):
        sign(model, certified, add=True)


@pytest.mark.parametrize("held", ["other key", "both", "certificate", "foreign", "statement"])
def test_what_would_be_lost_is_refused_with_the_ways_out(
    model: Path, signer: KeySigner, held: str
) -> None:
    place = model / "model.sig"
    if held == "foreign":
        place.write_bytes(b'{"mediaType": "something else"}')
    else:
        signers: dict[str, Signer | Sequence[Signer]] = {
            "other key": OTHER,
            "both": [signer, OTHER],
            "certificate": Authority.root().signer(),
            "statement": signer,
        }
        sign(model, signers[held], statements=[claim(model)] if held == "statement" else ())
    before = place.read_bytes()
    with pytest.raises(errors.UsageError, match=r"--add .* --replace"):
        sign(model, signer)
    assert place.read_bytes() == before
    sign(model, signer, replace=True)
    assert verify(model, policy=all_of(signer)).statements == ()


def test_the_same_key_signs_again_without_losing_statements(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    sign(model, signer, statements=[claim(model), claim(model, "urn:bom")])
    with pytest.raises(errors.UsageError, match=r"would be lost \(urn:bom\)"):
        sign(model, signer, statements=[claim(model, run=2)])
    sign(model, [signer, OTHER], statements=[claim(model, "urn:bom"), claim(model, run=2)])
    sign(model, [OTHER, signer], statements=[claim(model, "urn:bom"), claim(model, run=3)])
    assert len(verify(model, policy=all_of(signer, OTHER)).statements) == 2
    (model / "config.json").write_text("retrained")
    (model / "layers-1.bin").write_text("retrained")
    sign(model, [signer, OTHER])  # what was said of other files is out of date
    assert verify(model, policy=all_of(signer)).statements == ()


def test_a_renewed_certificate_of_the_same_key_replaces(model: Path) -> None:
    authority = Authority.root()
    first = authority.signer()
    sign(model, first)
    sign(model, first)
    with pytest.raises(errors.UsageError, match="--replace"):
        sign(model, authority.signer())


def test_an_empty_file_is_no_bundle(model: Path, signer: KeySigner, tmp_path: Path) -> None:
    (tmp_path / "reserved").touch()
    assert sign(model, signer, out=tmp_path / "reserved").path == tmp_path / "reserved"


def test_a_bare_signature_neither_replaces_a_bundle_nor_is_replaced_by_one(
    model: Path, signer: KeySigner
) -> None:
    path = model / "config.json"
    sign(path, signer)
    with pytest.raises(errors.UsageError, match="--replace"):
        sign_detached(path, RSA)
    sign_detached(path, RSA, replace=True)
    path.write_text("retrained")
    sign_detached(path, RSA)
    with pytest.raises(errors.UsageError, match="--replace"):
        sign(path, RSA)
    sign(path, RSA, replace=True)


@pytest.mark.parametrize(
    "answer",
    [raw, lambda s: s[:-1], lambda s: bytes(len(s)), lambda s: s.hex(), lambda _: None],
)
@pytest.mark.parametrize("add", [False, True])
def test_a_wrong_answer_of_a_signer_is_found_before_it_is_written(
    model: Path, signer: KeySigner, answer: Callable[[bytes], Any], *, add: bool
) -> None:
    sign(model, OTHER if add else signer)
    before = (model / "model.sig").read_bytes()
    wrong = Remote(signer, answer)
    with pytest.raises(errors.SignatureInvalid, match=r"signer Remote: .*nothing was signed"):
        sign(model, wrong, add=add)
    assert (model / "model.sig").read_bytes() == before
    with pytest.raises(errors.SignatureInvalid):
        sign_manifest(hash_path(model), [OTHER, wrong])


def test_a_wrong_answer_writes_no_bare_signature(model: Path) -> None:
    with pytest.raises(errors.SignatureInvalid):
        sign_detached(model / "config.json", Remote(RSA, lambda s: s[::-1]))
    assert not (model / "config.json.sig").exists()


def test_a_certificate_of_another_key_is_found_before_it_is_written(
    model: Path, signer: KeySigner
) -> None:
    chain = Authority.root().signer().certificates
    with pytest.raises(errors.SignatureInvalid, match="leaf certificate"):
        sign(model, Remote(signer, bytes, chain))
    assert not (model / "model.sig").exists()


def test_an_added_signature_is_named_where_the_first_was_not(
    model: Path, signer: KeySigner
) -> None:
    sign(model, signer)

    def unnamed(value: dict[str, Any]) -> None:
        value["verificationMaterial"]["publicKey"]["hint"] = ""

    edit_bundle(model / "model.sig", unnamed)
    sign(model, OTHER, add=True)
    assert len(verify(model, policy=all_of(signer, OTHER)).signers) == 2
    names = json.loads((model / "model.sig").read_bytes())["dsseEnvelope"]["signatures"]
    assert [each["keyid"] for each in names] == ["", OTHER.public_key.fingerprint]


def test_a_bundle_takes_as_many_signatures_as_it_can_be_read_with(model: Path) -> None:
    signers = [Signer.generate("ed25519") for _ in range(MAX_SIGNATURES)]
    with pytest.raises(errors.UsageError, match=f"at most {MAX_SIGNATURES} Signers, got 65"):
        sign(model, [*signers, OTHER])
    sign(model, signers)
    whole = (model / "model.sig").read_bytes()
    with pytest.raises(errors.UsageError, match=f"at most {MAX_SIGNATURES} signatures"):
        sign(model, OTHER, add=True)
    assert (model / "model.sig").read_bytes() == whole
