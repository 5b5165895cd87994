"""Bad input in the place of a bundle: the answer is one of our refusals, and soon."""

from __future__ import annotations

import base64
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.loading import SecureLoader
from mlsecops.provenance import Digest, Entry, Statement
from mlsecops.signing import KeySigner, Signer, TrustPolicy, Verifier, sign, verify
from mlsecops.signing.bundle import MAX_BUNDLE_BYTES
from mlsecops.signing.envelope import Envelope
from mlsecops.signing.oms import manifest_of
from tests.attackers.signing import drop_into, edit_bundle, forge_payload
from tests.signing.authorities import Authority

KEYLESS = {"certificate": {"rawBytes": "AA=="}, "tlogEntries": [{}]}
MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"
QUIET = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@QUIET
@given(noise=st.binary(max_size=3000))
def test_noise_is_refused(policy: TrustPolicy, noise: bytes) -> None:
    with pytest.raises(errors.SignatureError):
        Verifier(policy, legacy=True).open(noise, where="noise")


@QUIET
@given(key=st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope"]), value=JSON)
def test_any_value_in_any_place_of_a_bundle_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy, key: str, value: object
) -> None:
    bundle = json.loads(sign(model, signer).to_bytes())
    bundle[key] = value
    with pytest.raises(errors.SignatureError):
        Verifier(policy).open(json.dumps(bundle).encode(), where="bundle")


@QUIET
@given(
    key=st.sampled_from(["serialization", "resources", "statements", "version"]),
    value=JSON.filter(lambda value: value not in (None, []) and not isinstance(value, int)),
)
def test_any_value_in_a_trusted_signer_s_predicate_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy, key: str, value: object
) -> None:
    sign(model, signer)
    forge_payload(
        model / "model.sig", signer, lambda payload: payload["predicate"].update({key: value})
    )
    with pytest.raises(errors.MalformedBundle):
        verify(model, policy=policy)


def test_only_what_it_is_for_makes_a_bundle(model: Path, signer: KeySigner) -> None:
    bundle = sign(model, signer)
    with pytest.raises(errors.MalformedBundle, match="expected a keyless bundle"):
        bundle.keyless_value(bundle.envelope.signatures[0])
    for seal in (lambda: sign(model, ()), lambda: Envelope.seal(b"", ())):
        with pytest.raises(errors.UsageError, match=r"(?i)at least one signer"):
            seal()
    entries = [Entry(name, Digest.of(b"", algorithm=name)) for name in ("sha256", "sha512")]
    with pytest.raises(errors.MalformedBundle, match="expected one digest algorithm"):
        manifest_of("m", entries, ignore=(), shards=None, where="bundle")


def test_every_truncation_is_refused(model: Path, signer: KeySigner, policy: TrustPolicy) -> None:
    data = sign(model, signer).to_bytes()
    for end in range(0, len(data), 13):
        with pytest.raises(errors.MalformedBundle):
            Verifier(policy).open(data[:end], where="bundle")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda b: b.update(mediaType="application/json"), "expected mediaType"),
        (lambda b: b.update(extra=1), "unexpected key 'extra'"),
        (lambda b: b["dsseEnvelope"].update(payloadType="text/plain"), "expected payloadType"),
        (lambda b: b["dsseEnvelope"].update(payload="a\nb="), "base64"),
        (lambda b: b["dsseEnvelope"].update(payload="%%%%"), "base64"),
        (lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"{").decode()), "JSON"),
        (lambda b: b["dsseEnvelope"].update(signatures=[]), "1 to 64 signatures"),
        (lambda b: b["dsseEnvelope"].update(signatures=[{}] * 65), "1 to 64 signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=3), "keyid"),
        (lambda b: b["dsseEnvelope"].update(signatures=["sig keyid"]), "signature to be an object"),
        (lambda b: b["verificationMaterial"].update(tlogEntries=[{}]), "tlogEntries"),
        (lambda b: b["verificationMaterial"].update(publicKey={"hint": 3}), "hint"),
        (lambda b: b["verificationMaterial"].update(x509CertificateChain={}), "got both"),
        (lambda b: b.update(verificationMaterial={"tlogEntries": []}), "publicKey"),
        (lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": "AA=="}}), "keyless"),
        (lambda b: b.update(verificationMaterial={**KEYLESS, "publicKey": {}}), "identity alone"),
        (
            lambda b: b.update(verificationMaterial={**KEYLESS, "x509CertificateChain": {}}),
            "identity alone",
        ),
        (
            lambda b: b.update(
                verificationMaterial={
                    "x509CertificateChain": {"certificates": [{"rawBytes": "AA=="}]}
                }
            ),
            "not a certificate",
        ),
    ],
)
def test_each_malformation_is_named(
    model: Path,
    signer: KeySigner,
    policy: TrustPolicy,
    edit: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    sign(model, signer)
    edit_bundle(model / "model.sig", edit)
    with pytest.raises(errors.MalformedBundle, match=message):
        verify(model, policy=policy)


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (lambda p: p["predicate"]["serialization"].update(method="shards"), "shard_size"),
        (lambda p: shards(p, 8.5), "shard_size"),
        (lambda p: shards(p, -8), "shard_size"),
        (lambda p: shards(p, 1e300), "shard_size"),
        (lambda p: shards(p, 8), "path:start:end"),
        (lambda p: shards(p, 8, "a:0:9"), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "a:4:8"), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "a:8:8"), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "a:00:8"), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "a:0:" + "9" * 5000), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "a:\u0660:8"), "shard of 8 bytes"),
        (lambda p: shards(p, 8, "../a:0:8"), "relative path"),
        (lambda p: shards(p, 8, "/a:0:8"), "relative path"),
    ],
)
def test_each_malformed_shard_is_named(
    model: Path,
    signer: KeySigner,
    policy: TrustPolicy,
    forgery: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    sign(model, signer)
    forge_payload(model / "model.sig", signer, forgery)
    with pytest.raises(errors.MalformedBundle, match=message):
        verify(model, policy=policy)


def test_a_signature_has_one_text_only(model: Path) -> None:
    signer = Signer.generate("ed25519")
    sign(model, signer)

    def spell_otherwise(bundle: dict[str, Any]) -> None:
        item = bundle["dsseEnvelope"]["signatures"][0]
        same = item["sig"][:-3] + chr(ord(item["sig"][-3]) + 1) + "=="
        assert base64.b64decode(same) == base64.b64decode(item["sig"])
        item["sig"] = same

    edit_bundle(model / "model.sig", spell_otherwise)
    with pytest.raises(errors.MalformedBundle, match="canonical"):
        verify(model, policy=TrustPolicy(keys=[signer.public_key]))


def test_a_nested_statement_about_another_model_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    other = Statement.build(
        subjects={"model": Digest.of(b"other")}, predicate_type="urn:bom", predicate={}
    )
    nested = base64.b64encode(other.payload).decode()
    sign(model, signer)
    forge_payload(
        model / "model.sig",
        signer,
        lambda payload: payload["predicate"].update(statements=[nested]),
    )
    with pytest.raises(errors.MalformedBundle, match="about another model"):
        verify(model, policy=policy)


def shards(payload: dict[str, Any], size: float, name: str | None = None) -> None:
    predicate = payload["predicate"]
    predicate["serialization"].update(method="shards", shard_size=size)
    if name is not None:
        predicate["resources"] = [{**predicate["resources"][0], "name": name}]


def test_nothing_is_read_past_the_bounds(model: Path, signer: KeySigner) -> None:
    with (model / "model.sig").open("wb") as stream:
        stream.truncate(1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    policy = TrustPolicy(keys=[signer.public_key])
    with pytest.raises(errors.MalformedBundle, match=f"at most {MAX_BUNDLE_BYTES} bytes"):
        verify(model, policy=policy)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4 * MAX_BUNDLE_BYTES // 1024


def test_a_bundle_that_is_a_folder_or_a_pipe_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)
    for place in (model / "layers", Path("/dev/null")):
        with pytest.raises(errors.MLSecOpsError):
            verify(model, place, policy=policy)


def test_the_command_says_it_in_one_line(
    model: Path, tmp_path: Path, signer: KeySigner, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pub.pem").write_text(signer.public_key.pem)
    words = ["verify", str(model), "--key", str(tmp_path / "key.pub.pem")]
    for noise in (b"", b"{", b"[" * 100_000, b"\xff" * 300, b"{}", b"null"):
        (model / "model.sig").write_bytes(noise)
        assert main(words) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "Traceback" not in lines[0]
        assert "MalformedBundle" in lines[0]


# The holes of the other implementation (each reproduced there).


def test_hole_1_an_expired_leaf_is_refused(model: Path) -> None:
    authority = Authority.root()
    sign(model, authority.signer(days=30))
    with pytest.raises(errors.Expired):
        verify(model, policy=TrustPolicy(roots=[authority.pem()]))


def test_hole_2_a_symlinked_folder_is_not_left_out_in_silence(
    model: Path, tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "code.py").write_text("x")
    (model / "linked").symlink_to(outside)
    with pytest.raises(errors.UnsafeContent, match="linked is a symlink"):
        sign(model, signer)
    (model / "linked").unlink()
    sign(model, signer)
    (model / "linked").symlink_to(outside)
    with pytest.raises(errors.UnsafeContent, match="linked is a symlink"):
        verify(model, policy=policy)


def test_hole_3_a_file_swapped_after_verification_is_not_loaded(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "weights.npz"
    numpy.savez(path, w=numpy.ones(3))
    sign(path, signer)
    verify(path, policy=policy)
    numpy.savez(path, w=numpy.zeros(3))
    with pytest.raises(errors.DigestMismatch):
        SecureLoader(policy).load(path)
    numpy.savez(path, w=numpy.ones(3))
    sign(path, signer)
    loaded = SecureLoader(policy).load(path)
    numpy.savez(path, w=numpy.zeros(3))
    assert loaded.model["w"].tolist() == [1.0, 1.0, 1.0]


def test_hole_4_files_in_an_ignored_path_are_reported(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer, ignore=["logs", "model.sig"])
    drop_into(model, "logs/deep/evil.py")
    assert verify(model, policy=policy).ignored == ("logs/deep/evil.py",)
    drop_into(model, ".git/evil.py")
    with pytest.raises(errors.DigestMismatch, match=r"\.git/evil\.py"):
        verify(model, policy=policy)


def test_hole_5_a_name_that_stands_twice_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    sign(model, signer)

    def twice(payload: dict[str, Any]) -> None:
        resources = payload["predicate"]["resources"]
        resources.append({**resources[0], "digest": "0" * 64})

    forge_payload(model / "model.sig", signer, twice)
    with pytest.raises(errors.MalformedBundle, match="appears more than once"):
        verify(model, policy=policy)


def test_the_wrong_key_is_refused(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    for key_type in ("p256", "p384", "p521", "ed25519", "rsa"):
        wrong = Signer.generate(key_type)
        with pytest.raises(errors.UntrustedSigner, match="trusted keys"):
            verify(model, policy=TrustPolicy(keys=[wrong.public_key]))
        edit_bundle(model / "model.sig", lambda b: b["verificationMaterial"].update(publicKey={}))
        with pytest.raises(errors.UntrustedSigner, match="trusted keys"):
            verify(model, policy=TrustPolicy(keys=[wrong.public_key]))
        sign(model, signer)
