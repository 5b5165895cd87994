from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Use

from mlsecops import errors
from mlsecops.signing import KeySigner, PublicKey, Scope, TrustedRoot, TrustPolicy, sign, verify
from tests.attackers.signing import edit_bundle
from tests.signing.authorities import START, Authority, issue

LATER = START + timedelta(days=400)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


@pytest.fixture(scope="module")
def between(authority: Authority) -> Authority:
    return authority.intermediate()


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_a_certified_signer_verifies_against_its_root(
    model: Path, authority: Authority, curve: str
) -> None:
    sign(model, authority.signer(curve=curve))
    verified = verify(model, policy=TrustPolicy(roots=[authority.pem()]))
    assert verified.signers == ("CN=release",)


def test_a_chain_over_intermediates_leads_to_the_root(
    model: Path, authority: Authority, between: Authority
) -> None:
    second = between.intermediate("second")
    signer = second.signer(second.certificate, between.certificate)
    sign(model, signer)
    assert verify(model, policy=TrustPolicy(roots=[authority.pem()])).signers == ("CN=release",)


def test_a_chain_with_a_missing_link_is_refused(
    model: Path, authority: Authority, between: Authority
) -> None:
    sign(model, between.signer())
    with pytest.raises(errors.UntrustedSigner, match="does not lead"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_leaf_that_plays_authority_is_refused(model: Path, authority: Authority) -> None:
    leaf = authority.signer()
    impostor = Authority(leaf._key, leaf.certificates[0])
    sign(model, impostor.signer(leaf.certificates[0]))
    with pytest.raises(errors.UntrustedSigner, match="does not lead"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_leaf_of_another_root_is_refused(model: Path, authority: Authority) -> None:
    sign(model, Authority.root().signer())
    with pytest.raises(errors.UntrustedSigner, match="does not lead"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_an_expired_leaf_is_refused_though_it_was_valid_when_it_was_issued(
    model: Path, authority: Authority
) -> None:
    sign(model, authority.signer(days=30))
    policy = TrustPolicy(roots=[authority.pem()])
    with pytest.raises(errors.Expired, match="CN=release"):
        verify(model, policy=policy, at=LATER)
    assert verify(model, policy=policy, at=START + timedelta(days=1)).name == "model"


def test_a_leaf_that_is_not_valid_yet_is_refused(model: Path, authority: Authority) -> None:
    sign(model, authority.signer())
    with pytest.raises(errors.Expired, match="valid from"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]), at=START - timedelta(days=1))


def test_an_expired_intermediate_is_refused(model: Path, authority: Authority) -> None:
    between = authority.intermediate(days=30)
    sign(model, between.signer(between.certificate))
    with pytest.raises(errors.Expired, match="CN=intermediate"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]), at=LATER)


def test_an_expired_root_is_refused(model: Path) -> None:
    root = Authority.root(days=30)
    sign(model, root.signer())
    with pytest.raises(errors.Expired, match="CN=root"):
        verify(model, policy=TrustPolicy(roots=[root.pem()]), at=LATER)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"usage": "key_encipherment"}, False),
        ({"usage": None}, False),
        ({"usage": "key_encipherment", "purpose": Use.SERVER_AUTH}, False),
        ({"usage": None, "purpose": Use.CODE_SIGNING}, True),
        ({"usage": "digital_signature"}, True),
        ({"purpose": [Use.CODE_SIGNING, Use.SERVER_AUTH]}, True),
        ({"purpose": Use.SERVER_AUTH}, False),
        ({"purpose": [Use.CLIENT_AUTH, Use.EMAIL_PROTECTION]}, False),
        ({"purpose": Use.TIME_STAMPING}, False),
        ({"purpose": Use.ANY_EXTENDED_KEY_USAGE}, False),
        ({"usage": "key_encipherment", "purpose": Use.CODE_SIGNING}, False),
        ({"ca": True}, False),
        ({"ca": True, "purpose": Use.CODE_SIGNING}, False),
    ],
)
def test_only_a_leaf_that_may_sign_counts(
    model: Path, authority: Authority, options: dict[str, Any], *, allowed: bool
) -> None:
    sign(model, authority.signer(**options))
    policy = TrustPolicy(roots=[authority.pem()])
    if allowed:
        assert verify(model, policy=policy).signers == ("CN=release",)
    else:
        with pytest.raises(errors.UntrustedSigner, match="may not sign"):
            verify(model, policy=policy)


def test_a_certificate_bundle_is_not_trusted_by_key_policies(
    model: Path, authority: Authority
) -> None:
    signer = authority.signer()
    sign(model, signer)
    with pytest.raises(errors.UntrustedSigner, match="expected a trusted root"):
        verify(model, policy=TrustPolicy(keys=[signer.public_key]))


def test_a_certificate_for_another_key_makes_no_signer(authority: Authority) -> None:
    with pytest.raises(errors.UsageError, match="another key"):
        KeySigner(ec.generate_private_key(ec.SECP256R1()), certificates=(authority.certificate,))


def fingerprint_of(certificate: x509.Certificate) -> str:
    text = certificate.fingerprint(hashes.SHA256()).hex()
    return ":".join(text[i : i + 2].upper() for i in range(0, len(text), 2))


@pytest.mark.parametrize("who", ["leaf", "leaf key", "intermediate", "intermediate key", "root"])
def test_each_certificate_of_the_path_can_be_revoked_by_itself_or_by_its_key(
    model: Path, authority: Authority, between: Authority, who: str
) -> None:
    signer = between.signer(between.certificate)
    sign(model, signer)
    marks = {
        "leaf": fingerprint_of(signer.certificates[0]),
        "leaf key": signer.public_key.fingerprint,
        "intermediate": fingerprint_of(between.certificate),
        "intermediate key": PublicKey.of_certificate(between.certificate).fingerprint,
        "root": fingerprint_of(authority.certificate),
    }
    with pytest.raises(errors.Revoked, match=r"is revoked"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()], revoked=[marks[who]]))


def test_the_scope_that_counts_is_of_the_root_that_the_chain_leads_to(
    model: Path, authority: Authority
) -> None:
    other = Authority.root("other")
    wide, narrow = Scope(models=("*",)), Scope(models=("fraud-*",))
    sign(model, authority.signer())

    def check(mine: Scope, others: Scope) -> None:
        roots = [TrustedRoot(other.certificate, others), TrustedRoot(authority.certificate, mine)]
        verify(model, policy=TrustPolicy(roots=roots), at=LATER)

    check(wide, narrow)
    with pytest.raises(errors.UntrustedSigner, match=r"may sign fraud-\*, not 'model'"):
        check(narrow, wide)
    with pytest.raises(errors.Expired, match="is trusted from"):
        check(Scope(not_after=START + timedelta(days=1)), Scope())
    check(Scope(), Scope(not_after=START + timedelta(days=1)))


def test_a_swapped_certificate_is_refused(model: Path, authority: Authority) -> None:
    sign(model, authority.signer())
    other = sign(model, authority.signer(), out=model.parent / "other.sig")

    material = json.loads(other.to_bytes())["verificationMaterial"]
    edit_bundle(model / "model.sig", lambda value: value.update(verificationMaterial=material))
    with pytest.raises(errors.SignatureInvalid, match="CN=release"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


@pytest.mark.parametrize("issuer", ["itself", "another"])
def test_a_certificate_that_does_not_belong_to_the_chain_is_refused(
    model: Path, authority: Authority, issuer: str
) -> None:
    stranger = Authority.root("stranger")
    extra = stranger if issuer == "itself" else stranger.intermediate()
    sign(model, authority.signer(extra.certificate))
    with pytest.raises(errors.UntrustedSigner, match="does not belong there"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_certificate_with_an_extension_twice_is_malformed(
    model: Path, authority: Authority
) -> None:
    sign(model, authority.signer())

    def repeat(value: dict[str, Any]) -> None:
        [held] = value["verificationMaterial"]["x509CertificateChain"]["certificates"]
        der = base64.b64decode(held["rawBytes"])
        issuer_key, subject_key = b"\x06\x03\x55\x1d\x23", b"\x06\x03\x55\x1d\x0e"
        assert der.count(issuer_key) == der.count(subject_key) == 1
        held["rawBytes"] = base64.b64encode(der.replace(issuer_key, subject_key)).decode()

    edit_bundle(model / "model.sig", repeat)
    with pytest.raises(errors.MalformedBundle, match=r"not a certificate: .*[Dd]uplicate"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_second_signature_beside_a_chain_is_refused(model: Path, authority: Authority) -> None:
    sign(model, authority.signer())

    def add(value: dict[str, Any]) -> None:
        value["dsseEnvelope"]["signatures"].append({"sig": "AAAA", "keyid": ""})

    edit_bundle(model / "model.sig", add)
    with pytest.raises(errors.MalformedBundle, match="expected one signature"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_several_signers_have_bare_keys(model: Path, authority: Authority) -> None:
    with pytest.raises(errors.UsageError, match="one certificate chain"):
        sign(model, [authority.signer(), authority.signer()])


RELEASE = [
    x509.DNSName("sign.corp.example"),
    x509.RFC822Name("release@corp.example"),
    x509.UniformResourceIdentifier("spiffe://corp.example/release"),
]


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (["release"], True),
        (["CN=release"], True),
        (["other", "rel*"], True),
        (["*@corp.example"], True),
        (["spiffe://corp.example/*"], True),
        (["sign.corp.example"], True),
        ([], True),
        (["releas"], False),
        (["CN=Release"], False),
        (["www.*", "laptop"], False),
        ([""], False),
    ],
)
def test_a_root_names_the_leaves_that_may_sign(
    model: Path, between: Authority, authority: Authority, patterns: list[str], *, allowed: bool
) -> None:
    sign(model, between.signer(between.certificate, names=RELEASE))
    policy = TrustPolicy(roots=[TrustedRoot(authority.certificate, subjects=tuple(patterns))])
    if allowed:
        assert verify(model, policy=policy).signers == ("CN=release",)
    else:
        with pytest.raises(errors.UntrustedSigner, match=r"'CN=release': expected a subject among"):
            verify(model, policy=policy)


def test_the_names_of_an_intermediate_are_not_those_of_the_leaf(
    model: Path, between: Authority, authority: Authority
) -> None:
    sign(model, between.signer(between.certificate, name="www"))
    policy = TrustPolicy(roots=[TrustedRoot(authority.certificate, subjects=("intermediate",))])
    with pytest.raises(errors.UntrustedSigner, match="expected a subject among intermediate"):
        verify(model, policy=policy)


def test_subjects_of_a_root_stand_in_the_policy_file(
    model: Path, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "root.pem").write_bytes(authority.pem())
    path = tmp_path / "trust.toml"
    sign(model, authority.signer())
    path.write_text('[[roots]]\npath = "root.pem"\nsubjects = ["rel*"]\n')
    assert verify(model, policy=TrustPolicy.load(path)).name == "model"
    path.write_text('[[roots]]\npath = "root.pem"\nsubjects = ["www.*"]\n')
    with pytest.raises(errors.UntrustedSigner, match="expected a subject"):
        verify(model, policy=TrustPolicy.load(path))
    for wrong in (
        '[[roots]]\npath = "root.pem"\nsubjects = "rel*"\n',
        '[[keys]]\npath = "root.pem"\nsubjects = ["rel*"]\n',
    ):
        path.write_text(wrong)
        with pytest.raises(errors.UsageError, match="subjects"):
            TrustPolicy.load(path)
    with pytest.raises(errors.UsageError, match="subjects: expected a list of patterns"):
        TrustedRoot(authority.certificate, subjects="rel*")  # type: ignore[arg-type] # on purpose


def test_a_certificate_that_may_issue_nothing_is_a_signer_s_although_it_says_ca(
    model: Path, authority: Authority
) -> None:
    def check(**about: Any) -> None:
        sign(model, authority.signer(ca=True, **about), replace=True)
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))

    code = Use.CODE_SIGNING
    check(issues=False, purpose=code)  # as GnuTLS' certtool makes signers
    for about in ({"issues": True, "purpose": code}, {"issues": False}):
        with pytest.raises(errors.UntrustedSigner, match="CA:TRUE"):
            check(**about)


@pytest.mark.parametrize("count", [0, 17])
def test_a_chain_has_a_bounded_number_of_certificates(
    model: Path, authority: Authority, count: int
) -> None:
    sign(model, authority.signer())

    def repeat(value: dict[str, Any]) -> None:
        chain = value["verificationMaterial"]["x509CertificateChain"]
        chain["certificates"] = (chain["certificates"] * count)[:count]

    edit_bundle(model / "model.sig", repeat)
    with pytest.raises(errors.MalformedBundle, match="expected 1 to 16 certificates"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_a_revoked_subject_signs_no_more(model: Path, authority: Authority) -> None:
    sign(model, authority.signer(names=[x509.RFC822Name("anna@corp.example")]))
    roots = [authority.pem()]
    verify(model, policy=TrustPolicy(roots=roots, revoked=["bert@corp.example"]))
    with pytest.raises(errors.Revoked, match="is revoked; sign again"):
        verify(model, policy=TrustPolicy(roots=roots, revoked=["anna@*"]))


def test_a_leaf_with_a_key_that_signs_no_model_is_refused(
    model: Path, authority: Authority
) -> None:
    sign(model, authority.signer())
    key = ec.generate_private_key(ec.SECP256K1())
    leaf = issue(key, "release", authority.key, authority.certificate.subject)
    raw = base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode()
    chain = {"certificates": [{"rawBytes": raw}]}
    edit_bundle(
        model / "model.sig",
        lambda value: value["verificationMaterial"].update(x509CertificateChain=chain),
    )
    with pytest.raises(errors.UntrustedSigner, match="curve secp256k1"):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))
