"""Keyless signatures without network: a private instance plays Sigstore's service."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sigstore")

from mlsecops import errors
from mlsecops.integrations.sigstore import sign_keyless, verify_keyless
from mlsecops.provenance import hash_path
from mlsecops.signing import Signer, TrustPolicy, sign, verify
from mlsecops.signing.identities.trusted_root import trusted_root_of
from tests.attackers.signing import flip_byte
from tests.signing.identities.instance import Instance

WHO = {"identity": "release@example.org", "issuer": "https://login.example.org"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "w.bin").write_bytes(b"weights")
    return root


def token(**claims: Any) -> str:
    """An unsigned identity token: the service, not the client, checks its signature."""
    now = int(time.time())
    body = {
        "iss": WHO["issuer"], "aud": "sigstore", "sub": WHO["identity"],
        "iat": now - 5, "nbf": now - 5, "exp": now + 300, **claims,
    }  # fmt: skip
    parts = ({"alg": "RS256", "typ": "JWT"}, body)
    text = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(one.rstrip("=") for one in text), "c2ln"])


class Service:
    """A signing context of a private instance, without its network."""

    statement: bytes = b""

    def __init__(self) -> None:
        self.instance = Instance()

    @contextmanager
    def signer(self, identity: Any) -> Iterator[Service]:
        self.identity = identity.identity
        yield self

    def sign_dsse(self, statement: Any) -> Service:
        self.statement = statement._contents
        return self

    def to_json(self) -> str:
        who = {"subject": WHO["identity"], "issuer": WHO["issuer"]}
        return json.dumps(self.instance.bundle(self.statement, **who))

    def verifier(self) -> Any:
        from sigstore.verify import Verifier  # noqa: PLC0415 - only where it is installed

        return Verifier(trusted_root=trusted_root_of(self.instance.trusted_root().encode()))


@pytest.fixture
def service(model: Path) -> Service:
    """A model signed through the private instance."""
    service = Service()
    sign_keyless(model, token(), context=service, version=2)
    return service


def test_the_statement_that_is_signed_is_the_model_s(model: Path, service: Service) -> None:
    assert service.identity == WHO["identity"]
    payload = json.loads(service.statement)
    assert payload["predicateType"] == "https://model_signing/signature/v1.0"
    assert payload["subject"][0]["digest"]["sha256"] == hash_path(model).root.hex


def test_a_statement_that_sigstore_vouches_for_is_held_against_the_files(
    model: Path, service: Service
) -> None:
    verified = verify_keyless(model, **WHO, verifier=service.verifier())
    assert verified.signers == (f"{WHO['identity']} ({WHO['issuer']})",)
    flip_byte(model / "w.bin")
    with pytest.raises(errors.DigestMismatch, match=r"w\.bin"):
        verify_keyless(model, **WHO, verifier=service.verifier())


def test_revocations_floors_and_thresholds_hold_for_identities_too(
    model: Path, service: Service
) -> None:
    def check(policy: TrustPolicy) -> None:
        verify_keyless(model, **WHO, verifier=service.verifier(), policy=policy)

    check(TrustPolicy(floor=2))
    with pytest.raises(errors.RollbackRefused):
        check(TrustPolicy(floor=3))
    with pytest.raises(errors.Revoked):
        check(TrustPolicy(revoked=[str(hash_path(model).root)]))
    keys = [Signer.generate("p256").public_key for _ in range(2)]
    with pytest.raises(errors.ThresholdNotMet):
        check(TrustPolicy(keys=keys, threshold=2))


def test_what_sigstore_refuses_is_refused(model: Path, service: Service) -> None:
    assert service.statement
    with pytest.raises(errors.SignatureInvalid, match="Sigstore's proof"):
        verify_keyless(model, **WHO, verifier=Service().verifier())
    with pytest.raises(errors.UntrustedSigner, match=r"bert@example\.org"):
        verify_keyless(model, identity="bert@example.org", issuer=WHO["issuer"], offline=True)


def test_a_second_signature_of_an_identity_replaces_only_its_own(
    model: Path, service: Service
) -> None:
    sign_keyless(model, token(), context=service, version=3)
    verify_keyless(model, **WHO, verifier=service.verifier(), policy=TrustPolicy(floor=3))
    with pytest.raises(errors.UsageError, match=r"another signer \(release@example\.org"):
        sign_keyless(model, token(sub="bert@example.org"), context=service)
    sign_keyless(model, token(sub="bert@example.org"), context=service, replace=True)


@pytest.mark.parametrize("noise", [b"", b"{}", b"null", b"[" * 9999, b"\xff", b'{"mediaType":"x"}'])
def test_what_is_no_keyless_bundle_is_refused(model: Path, noise: bytes) -> None:
    (model / "model.sig").write_bytes(noise)
    with pytest.raises(errors.MalformedBundle):
        verify_keyless(model, **WHO, offline=True)


def test_a_key_bundle_is_no_keyless_bundle_and_the_other_way_round(model: Path) -> None:
    signer = Signer.generate("p256")
    bundle = sign(model, signer)
    with pytest.raises(errors.MalformedBundle, match="keyless"):
        verify_keyless(model, **WHO, offline=True)
    value = json.loads(bundle.to_bytes())
    value["verificationMaterial"] = {"certificate": {"rawBytes": "AA=="}, "tlogEntries": [{}]}
    (model / "model.sig").write_text(json.dumps(value))
    with pytest.raises(errors.MalformedBundle, match="certificate"):
        verify(model, policy=TrustPolicy(keys=[signer.public_key]))
    Service().instance.sign(model)
    with pytest.raises(errors.UntrustedSigner, match="trusted identities"):
        verify(model, policy=TrustPolicy(keys=[signer.public_key]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noise", "Sigstore refuses it"),
        (token(aud="other"), "Sigstore refuses it"),
        (token(exp=1), "expired|refuses"),
    ],
)
def test_a_token_that_cannot_be_used_is_the_caller_s_error(
    model: Path, text: str, message: str
) -> None:
    with pytest.raises(errors.UsageError, match=message):
        sign_keyless(model, text, context=Service())


def test_without_network_the_error_says_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("socket.socket.connect", unreachable)
    with pytest.raises(errors.UsageError, match="cannot reach Sigstore"):
        sign_keyless(model, token())
