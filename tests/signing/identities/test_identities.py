"""Identities in trust policies: whose keyless signatures count, and what is no proof of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

pytest.importorskip("sigstore")

from cryptography.x509.oid import ExtendedKeyUsageOID
from sigstore.errors import VerificationError

from mlsecops import Registry, SecureLoader, errors
from mlsecops.cli import main
from mlsecops.signing import Bundle, Identity, KeySigner, Scope, TrustPolicy, sign, verify
from mlsecops.signing.identities.certificate import identity_of
from mlsecops.signing.identities.transparency import proven_time
from mlsecops.signing.scope import matches_pattern
from tests.attackers.signing import edit_bundle, flip_byte
from tests.signing.identities.instance import BEGIN, ISSUER, SUBJECT, Instance, text

WORKFLOW = "https://github.com/corp/fraud/.github/workflows/release.yml@refs/tags/v1"


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance()


def trusting(instance: Instance, *, subject: str = SUBJECT, **rules: Any) -> TrustPolicy:
    anna = Identity(subject=subject, issuer=ISSUER)
    return TrustPolicy(identities=[anna], trusted_root=instance.trusted_root(), **rules)


def test_a_trusted_identity_signs_a_model(model: Path, instance: Instance) -> None:
    instance.sign(model)
    assert verify(model, policy=trusting(instance)).signers == (f"{SUBJECT} ({ISSUER})",)
    flip_byte(model / "config.json")
    with pytest.raises(errors.DigestMismatch, match=r"config\.json"):
        verify(model, policy=trusting(instance))


@pytest.mark.parametrize("about", [{"subject": WORKFLOW}, {"subject": "anna", "user": True}])
def test_workflows_and_user_names_are_identities_too(
    model: Path, instance: Instance, about: dict[str, Any]
) -> None:
    instance.sign(model, **about)
    verify(model, policy=trusting(instance, subject=about["subject"]))
    with pytest.raises(errors.UntrustedSigner):
        verify(model, policy=trusting(instance))


@pytest.mark.parametrize(
    ("about", "kind", "message"),
    [
        ({"subject": "bert@corp.example"}, errors.UntrustedSigner, "bert@corp"),
        ({"issuer": "https://evil.example"}, errors.UntrustedSigner, r"evil\.example"),
        ({"old_issuer": "https://evil.example"}, errors.UntrustedSigner, "without identity"),
        ({"at": BEGIN + timedelta(minutes=11)}, errors.Expired, "logged at"),
        ({"at": BEGIN - timedelta(minutes=1)}, errors.Expired, "logged at"),
        ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, errors.SignatureInvalid, "code signing"),
    ],
)
def test_another_identity_or_time_is_refused(
    model: Path, instance: Instance, about: dict[str, Any], kind: type[Exception], message: str
) -> None:
    instance.sign(model, **about)
    with pytest.raises(kind, match=message):
        verify(model, policy=trusting(instance))


def entry_of(value: dict[str, Any]) -> dict[str, Any]:
    return value["verificationMaterial"]["tlogEntries"][0]  # type: ignore[no-any-return]


def of_another_artifact(value: dict[str, Any], instance: Instance) -> None:
    entry_of(value).update(entry_of(instance.bundle(b"{}")))


def of_another_log(value: dict[str, Any], _instance: Instance) -> None:
    other = Instance()
    body = json.dumps({})
    assert body
    entry_of(value)["logId"] = {"keyId": text(b"\0" * 32)}
    entry_of(value)["inclusionPromise"] = entry_of(other.bundle(b"{}"))["inclusionPromise"]


def at_another_time(value: dict[str, Any], _instance: Instance) -> None:
    entry_of(value)["integratedTime"] = str(int(entry_of(value)["integratedTime"]) + 60)


def without_promise(value: dict[str, Any], _instance: Instance) -> None:
    del entry_of(value)["inclusionPromise"]


def without_proof(value: dict[str, Any], _instance: Instance) -> None:
    del entry_of(value)["inclusionProof"]


def out_of_the_tree(value: dict[str, Any], _instance: Instance) -> None:
    entry_of(value)["inclusionProof"]["hashes"] = [text(b"\1" * 32)]


def by_another_key(value: dict[str, Any], instance: Instance) -> None:
    other = instance.bundle(b"{}")["dsseEnvelope"]["signatures"]
    value["dsseEnvelope"]["signatures"] = other


def with_another_certificate(value: dict[str, Any], instance: Instance) -> None:
    material = instance.bundle(b"{}")["verificationMaterial"]
    value["verificationMaterial"]["certificate"] = material["certificate"]


def without_log(value: dict[str, Any], _instance: Instance) -> None:
    value["verificationMaterial"]["tlogEntries"] = []


FORGERIES = (
    of_another_artifact, of_another_log, at_another_time, without_promise, without_proof,
    out_of_the_tree, by_another_key, with_another_certificate, without_log,
)  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES, ids=[each.__name__ for each in FORGERIES])
def test_what_the_log_does_not_prove_is_refused(
    model: Path, instance: Instance, forge: Callable[[dict[str, Any], Instance], None]
) -> None:
    place = instance.sign(model)
    value = json.loads(place.read_text())
    forge(value, instance)
    place.write_text(json.dumps(value))
    with pytest.raises(errors.SignatureError):
        verify(model, policy=trusting(instance))


def without_entry(value: dict[str, Any]) -> None:
    value["verificationMaterial"]["tlogEntries"] = [{}]


def with_two_signatures(value: dict[str, Any]) -> None:
    value["dsseEnvelope"]["signatures"] *= 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without_entry, "expected a keyless Sigstore bundle"),
        (with_two_signatures, "expected one signature of the identity"),
    ],
)
def test_what_is_no_proof_at_all_is_malformed(
    model: Path, instance: Instance, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit_bundle(instance.sign(model), edit)
    with pytest.raises(errors.MalformedBundle, match=message):
        verify(model, policy=trusting(instance))


@pytest.mark.parametrize(
    ("answer", "message"),
    [(("text", b"other"), "of this envelope"), (ValueError("x"), "cannot be checked: ValueError")],
)
def test_a_proof_is_of_the_envelope_that_it_came_with(
    model: Path, instance: Instance, answer: Any, message: str
) -> None:
    bundle = Bundle.load(instance.sign(model))
    who = identity_of(bundle.certificates[0])
    assert who is not None
    stand_in = Mock(verify_dsse=Mock(side_effect=[answer]))
    with pytest.raises(errors.SignatureInvalid, match=message):
        proven_time(
            bundle, bundle.envelope.signatures[0], who=who, root=None, where="m", verifier=stand_in
        )
    (_, named), _ = stand_in.verify_dsse.call_args
    named.verify(bundle.certificates[0])
    Instance().sign(model, subject="bert@corp.example")
    with pytest.raises(VerificationError, match=SUBJECT):
        named.verify(Bundle.load(model / "model.sig").certificates[0])


def test_another_instance_vouches_for_nobody(model: Path, instance: Instance) -> None:
    Instance().sign(model)
    with pytest.raises(errors.SignatureInvalid, match="Sigstore's proof"):
        verify(model, policy=trusting(instance))
    with pytest.raises(errors.SignatureInvalid, match="Sigstore's proof"):
        verify(model, policy=TrustPolicy(identities=[Identity(subject=SUBJECT, issuer=ISSUER)]))


def test_an_authority_that_was_taken_out_of_use_vouches_no_more(model: Path) -> None:
    retired = Instance(until=BEGIN - timedelta(days=1))
    retired.sign(model)
    with pytest.raises(errors.Expired, match="not in use"):
        verify(model, policy=trusting(retired))


def test_a_trusted_root_that_cannot_be_used_is_the_caller_s_error(
    model: Path, instance: Instance
) -> None:
    instance.sign(model)
    whole = json.loads(instance.trusted_root())
    for change in ({"tlogs": []}, {"tlogs": 3}, {"certificateAuthorities": []}):
        root = json.dumps({**whole, **change})
        anna = Identity(subject=SUBJECT, issuer=ISSUER, trusted_root=root)
        with pytest.raises(errors.UsageError, match="trusted_root"):
            verify(model, policy=TrustPolicy(identities=[anna]))
    configuration = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": whole,
    }
    anna = Identity(subject=SUBJECT, issuer=ISSUER, trusted_root=json.dumps(configuration))
    verify(model, policy=TrustPolicy(identities=[anna]))


def test_a_missing_package_is_named(
    model: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.sign(model)
    for name in [name for name in sys.modules if name.partition(".")[0] == "sigstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.MissingExtra, match=r"mlsecops-sdk\[sigstore\]"):
        verify(model, policy=trusting(instance))


def test_each_identity_may_have_its_own_instance(model: Path, instance: Instance) -> None:
    here, there = Instance(), instance
    policy = TrustPolicy(
        identities=[
            Identity(subject=SUBJECT, issuer=ISSUER, trusted_root=here.trusted_root()),
            Identity(subject="bert@*", issuer=ISSUER, trusted_root=there.trusted_root()),
        ]
    )
    here.sign(model)
    verify(model, policy=policy)
    there.sign(model)
    with pytest.raises(errors.SignatureInvalid):
        verify(model, policy=policy)
    there.sign(model, subject="bert@corp.example")
    verify(model, policy=policy)


@pytest.mark.parametrize(
    "revoked",
    [
        SUBJECT,
        "*@corp.example",
        Identity(subject=SUBJECT, issuer=ISSUER),
        Identity(subject="anna@*", issuer=ISSUER),
    ],
    ids=["subject", "subjects", "identity", "identities"],
)
def test_a_revoked_identity_signs_no_more(
    model: Path, instance: Instance, revoked: str | Identity
) -> None:
    instance.sign(model)
    with pytest.raises(errors.Revoked, match=SUBJECT):
        verify(model, policy=trusting(instance, revoked=[revoked]))
    others = ["bert@corp.example", Identity(subject=SUBJECT, issuer="https://other.example")]
    verify(model, policy=trusting(instance, revoked=others))


def test_scopes_bind_identities_to_names_and_times(model: Path, instance: Instance) -> None:
    instance.sign(model)

    def check(scope: Scope) -> None:
        anna = Identity(subject=SUBJECT, issuer=ISSUER, scope=scope)
        verify(model, policy=TrustPolicy(identities=[anna], trusted_root=instance.trusted_root()))

    check(Scope(models=["model"], not_after=BEGIN + timedelta(days=1)))  # signed in time
    with pytest.raises(errors.UntrustedSigner, match="fraud"):
        check(Scope(models=["fraud-*"]))
    with pytest.raises(errors.Expired):
        check(Scope(not_after=BEGIN))


def test_an_identity_and_a_key_reach_a_threshold(
    model: Path, instance: Instance, signer: KeySigner
) -> None:
    both = trusting(instance, keys=[signer.public_key], threshold=2)
    instance.sign(model)
    with pytest.raises(errors.ThresholdNotMet, match=SUBJECT):
        verify(model, policy=both)
    sign(model, signer, add=True)
    assert len(verify(model, policy=both).signers) == 2
    verify(model, policy=trusting(instance, threshold=1))
    verify(model, policy=TrustPolicy(keys=[signer.public_key]))
    with pytest.raises(errors.Revoked):
        verify(model, policy=trusting(instance, revoked=[SUBJECT]))
    with pytest.raises(errors.UsageError, match="1 to 1"):
        trusting(instance, threshold=2)


def test_a_key_does_not_replace_an_identity_in_silence(
    model: Path, instance: Instance, signer: KeySigner
) -> None:
    instance.sign(model)
    with pytest.raises(errors.UsageError, match=f"another signer .{SUBJECT}"):
        sign(model, signer)
    verify(model, policy=trusting(instance))
    sign(model, signer, replace=True)


def test_policy_files_and_the_command_name_identities(
    model: Path, instance: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance.sign(model)
    (tmp_path / "root.json").write_text(instance.trusted_root())
    policy = tmp_path / "trust.toml"
    policy.write_text(
        f"""
        trusted_root = "root.json"
        revoked = [{{subject = "bert@corp.example", issuer = "{ISSUER}"}}]
        [[identities]]
        subject = "*@corp.example"
        issuer = "{ISSUER}"
        models = ["model"]
        """
    )
    words = ["--identity", SUBJECT, "--identity-issuer", ISSUER]
    root = ["--trusted-root", str(tmp_path / "root.json")]
    assert main(["verify", str(model), "--policy", str(policy)]) == 0
    assert main(["verify", str(model), *words, *root]) == 0
    assert SUBJECT in capsys.readouterr().out
    assert main(["verify", str(model), *words]) == 1  # the public instance
    assert main(["verify", str(model), "--identity", SUBJECT]) == 2
    assert main(["verify", str(model), *words, *root, "--policy", str(policy)]) == 2
    instance.sign(model, subject="bert@corp.example")
    assert main(["verify", str(model), "--policy", str(policy)]) == 1
    assert "revoked" in capsys.readouterr().err


def test_the_loader_and_the_registry_accept_identities(
    tmp_path: Path, instance: Instance, signer: KeySigner
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "w.npz").write_bytes(arrays())
    instance.sign(model)
    loaded = SecureLoader(trusting(instance)).load(model)
    assert loaded.verified.signers == (f"{SUBJECT} ({ISSUER})",)
    policy = trusting(instance, keys=[signer.public_key])
    registry = Registry(tmp_path / "registry", signer=signer, policy=policy)
    assert registry.publish("model", model).version == 1
    instance.sign(model, subject="bert@corp.example")
    for attempt in (SecureLoader(policy).load, lambda path: registry.publish("model", path)):
        with pytest.raises(errors.UntrustedSigner, match="bert"):
            attempt(model)


def arrays() -> bytes:
    import io  # noqa: PLC0415 - of this test alone

    import numpy as np  # noqa: PLC0415 - of this test alone

    stream = io.BytesIO()
    np.savez(stream, w=np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"subject": "*", "issuer": ISSUER}, "everybody"),
        ({"subject": "", "issuer": ISSUER}, "subject"),
        ({"subject": SUBJECT, "issuer": 3}, "issuer"),
        ({"subject": "a\nb", "issuer": ISSUER}, "printable"),
        ({"subject": SUBJECT, "issuer": ISSUER, "trusted_root": "{}"}, "trusted root"),
        ({"subject": SUBJECT, "issuer": ISSUER, "trusted_root": "absent.json"}, "cannot read"),
    ],
)
def test_an_identity_that_says_too_little_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        Identity(**words)


def test_patterns_are_linear_and_whole() -> None:
    assert matches_pattern(WORKFLOW, "https://github.com/corp/*@refs/tags/*")
    assert not matches_pattern(WORKFLOW, "https://github.com/corp/*@refs/heads/*")
    assert not matches_pattern("ab", "ab*b")
    assert not matches_pattern("a" * 20_000, "*a" * 200 + "b")


def test_older_bundles_of_the_format_are_read(model: Path, instance: Instance) -> None:
    place = instance.sign(model)
    value = json.loads(place.read_text())
    material = value["verificationMaterial"]
    for version in ("0.1", "0.2"):
        value["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version={version}"
        chain = {"certificates": [material["certificate"]]}
        rest = {key: item for key, item in material.items() if key != "certificate"}
        value["verificationMaterial"] = {**rest, "x509CertificateChain": chain}
        place.write_text(json.dumps(value))
        verify(model, policy=trusting(instance))
