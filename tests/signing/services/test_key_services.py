"""Keys in cloud services, on stand-ins that refuse what the real services refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("google.cloud.kms")
pytest.importorskip("azure.keyvault.keys")

from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.keys import KeyClient
from requests import Response, Session
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.provenance import Digest, Manifest
from mlsecops.provenance.entry import Entry
from mlsecops.signing import Signer, TrustPolicy, Verifier, sign, sign_manifest, verify
from mlsecops.signing.services.azure import AzureKey, _public
from mlsecops.signing.services.formats import pem_of_der, pem_of_modulus, pem_of_point
from mlsecops.signing.services.pkcs11 import DeviceKey
from mlsecops.signing.services.vault import VaultKey
from tests.signing.services.standins import (
    AwsKms,
    AzureVault,
    GoogleKms,
    Held,
    Vault,
    aws_handler,
)

VERSION = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions"


class Credential:
    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", 4_102_444_800)


class Adapter(BaseAdapter):
    """Sends the requests of Azure's own client to the stand-in."""

    def __init__(self, vault: AzureVault) -> None:
        super().__init__()
        self._vault = vault

    def send(self, request: Any, **_: Any) -> Response:  # type: ignore[override] # as it is called
        answer = Response()
        status, value = 401, {}
        if "Authorization" in request.headers:
            status, value = self._vault.handle(request.method, request.url, request.body or b"")
        else:
            scope = 'Bearer authorization="https://login/t", resource="https://vault.azure.net"'
            answer.headers["WWW-Authenticate"] = scope
        body = json.dumps(value).encode()
        answer.raw = HTTPResponse(body=BytesIO(body), status=status, preload_content=False)
        answer.status_code, answer.url, answer.request = status, request.url, request
        answer.headers["Content-Type"] = "application/json"
        return answer

    def close(self) -> None: ...


def azure_client(vault: AzureVault) -> KeyClient:
    session = Session()
    session.mount("https://", Adapter(vault))
    transport = RequestsTransport(session=session, session_owner=False)
    return KeyClient("https://corp.vault.azure.net", Credential(), transport=transport)


def aws(kind: str) -> tuple[Held, Signer]:
    kms = AwsKms(kind)
    return kms, Signer.from_uri("awskms:///alias/release", client=kms)


def google(kind: str) -> tuple[Held, Signer]:
    kms = GoogleKms(kind)
    return kms, Signer.from_uri(f"gcpkms://{VERSION}/1", client=kms)


def azure(kind: str) -> tuple[Held, Signer]:
    vault = AzureVault(kind)
    return vault, Signer.from_uri("azurekms://corp/release", client=azure_client(vault))


def vault(kind: str) -> tuple[Held, Signer]:
    held = Vault(kind)

    def send(method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        status, value = held.handle(method, "/v1/" + url.partition("/v1/")[2], headers, body)
        return status, json.dumps(value).encode()

    return held, Signer.from_uri("vault://transit/release", client=send)


CASES = [
    *((aws, kind) for kind in ("p256", "p384", "p521", "rsa", "ed25519")),
    *((google, kind) for kind in ("p256", "p384", "rsa", "ed25519")),
    *((azure, kind) for kind in ("p256", "p384", "p521", "rsa")),
    *((vault, kind) for kind in ("p256", "p384", "p521", "rsa", "ed25519")),
]


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.token")
    monkeypatch.delenv("VAULT_ADDR", raising=False)


@pytest.mark.parametrize(
    ("service", "kind"), CASES, ids=[f"{service.__name__}-{kind}" for service, kind in CASES]
)
def test_a_key_of_each_service_signs_a_model(model: Path, service: Any, kind: str) -> None:
    held, signer = service(kind)
    assert signer.public_key == held.signer.public_key
    sign(model, signer)
    verify(model, policy=TrustPolicy(keys=[held.signer.public_key]))


def many_files(count: int) -> Manifest:
    """A manifest of many files, whose payload is far larger than what a service takes."""
    entries = tuple(Entry(f"w/{n:05}.bin", Digest.of(str(n).encode())) for n in range(count))
    return Manifest(name="model", algorithm="sha256", entries=entries)


@pytest.mark.parametrize("service", [aws, google, azure, vault])
def test_ten_thousand_files_are_signed_through_a_limit_of_4096_bytes(service: Any) -> None:
    held, signer = service("p256")
    bundle = sign_manifest(many_files(10_000), signer)
    assert len(bundle.envelope.payload) > 1_000_000
    policy = TrustPolicy(keys=[held.signer.public_key])
    assert len(Verifier(policy).open(bundle.to_bytes(), where="bundle").manifest) == 10_000
    if isinstance(held, AwsKms):
        assert held.requests == [32]


@pytest.mark.parametrize("service", [aws, google])
def test_a_whole_message_that_is_too_long_is_refused_before_it_is_sent(service: Any) -> None:
    _, signer = service("ed25519")
    with pytest.raises(errors.UsageError, match="sign with an ECDSA or RSA key"):
        sign_manifest(many_files(1000), signer)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("awskms://alias", "expected awskms:///KEY"),
        ("awskms:///", "expected awskms:///KEY"),
        ("gcpkms://projects/p/cryptoKeys/k", "cryptoKeyVersions/N"),
        ("azurekms://corp", "azurekms://VAULT/KEY"),
        ("azurekms://corp/a/b/c", "azurekms://VAULT/KEY"),
        ("vault://", "vault://MOUNT/KEY"),
        ("hsm:key", "at its begin"),
        ("release.pem", "at its begin"),
    ],
)
def test_a_uri_of_another_form_is_refused(uri: str, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        Signer.from_uri(uri)


def test_what_a_service_refuses_is_the_caller_s_error() -> None:
    with pytest.raises(errors.UsageError, match="NotFoundException"):
        Signer.from_uri("awskms:///alias/other", client=AwsKms("p256"))
    with pytest.raises(errors.UsageError, match="not found"):
        Signer.from_uri(f"gcpkms://{VERSION}/2", client=GoogleKms("p256"))
    with pytest.raises(errors.UsageError, match="EC_SIGN_SECP256K1"):
        Signer.from_uri(f"gcpkms://{VERSION}/1", client=GoogleKms("p521"))
    with pytest.raises(errors.UsageError, match="KeyNotFound"):
        Signer.from_uri("azurekms://corp/other", client=azure_client(AzureVault("p256")))
    with pytest.raises(errors.UsageError, match="status 403"):
        Signer.from_uri("vault://transit/release", client=lambda *_: (403, b"{}"))


@pytest.mark.parametrize("part", ["pem", "signature", "request"])
def test_what_was_changed_on_its_way_is_refused(model: Path, part: str) -> None:
    kms = GoogleKms("p256")
    kms.damaged = part
    with pytest.raises(errors.UsageError, match="CRC32C"):
        sign(model, Signer.from_uri(f"gcpkms://{VERSION}/1", client=kms))


def test_a_service_with_another_key_than_it_says_signs_nothing(model: Path) -> None:
    kms = AwsKms("p256")
    signer = Signer.from_uri("awskms:///alias/release", client=kms)
    kms.key = AwsKms("p256").key
    with pytest.raises(errors.SignatureInvalid, match="nothing was signed"):
        sign(model, signer)
    assert not (model / "model.sig").exists()


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


@pytest.fixture
def server() -> Iterator[tuple[Vault, str]]:
    held = Vault("p384")
    with served(held.handler()) as host:
        yield held, host


def test_the_command_signs_through_the_real_client_of_aws(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = AwsKms("p384")
    (tmp_path / "key.pub.pem").write_text(held.signer.public_key.pem)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with served(aws_handler(held)) as host:
        assert main(["sign", str(model), "--key", f"awskms://{host}/alias/release"]) == 0
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://{host}")
        assert main(["sign", str(model), "--key", "awskms:///alias/release"]) == 0
        assert main(["sign", str(model), "--key", "awskms:///alias/other"]) == 2
    assert "NotFoundException" in capsys.readouterr().err
    assert held.requests == [48, 48]
    assert main(["verify", str(model), "--key", str(tmp_path / "key.pub.pem")]) == 0


def test_the_command_signs_through_vault(
    model: Path, server: tuple[Vault, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, host = server
    (tmp_path / "key.pub.pem").write_text(held.signer.public_key.pem)
    assert main(["sign", str(model), "--key", f"vault://{host}/transit/release"]) == 0
    monkeypatch.setenv("VAULT_ADDR", f"http://{host}")
    assert main(["sign", str(model), "--key", "vault://transit/release"]) == 0
    assert main(["sign", str(model), "--key", "vault://release"]) == 0
    assert main(["verify", str(model), "--key", str(tmp_path / "key.pub.pem")]) == 0
    monkeypatch.setenv("VAULT_TOKEN", "another")
    assert main(["sign", str(model), "--key", "vault://release"]) == 2
    assert held.requests == 7
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    assert main(["sign", str(model), "--key", "vault://release"]) == 2


def test_a_damaged_token_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.tok\nen")
    with pytest.raises(errors.UsageError, match="printable ASCII") as caught:
        Signer.from_uri("vault://transit/release")
    assert "hvs" not in str(caught.value)


def test_without_a_token_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.UsageError, match="VAULT_TOKEN"):
        Signer.from_uri("vault://transit/release")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pem_of_der(b"x", "k"), "k: expected a public key, got none"),
        (lambda: pem_of_point("P-224", b"1", b"1", "k"), "k: curve 'P-224'"),
        (lambda: pem_of_point("P-256", b"1", b"1", "k"), "k: expected a public key, got none"),
        (lambda: pem_of_modulus(b"1", b"1", "k"), "k: expected a public key, got none"),
        (
            lambda: Signer.from_uri(
                "awskms:///k",
                client=SimpleNamespace(
                    get_public_key=lambda **_: {
                        "KeyUsage": "ENCRYPT_DECRYPT",
                        "KeySpec": "RSA_2048",
                    }
                ),
            ),
            "expected a key for SIGN_VERIFY",
        ),
        (
            lambda: _public(SimpleNamespace(kty="EC", crv="P-256K"), "azurekms k"),
            "expected an RSA key or one of P-256, P-384 or P-521, got P-256K",
        ),
        (lambda: AzureKey("k", None, "", "").sign(b"", None), "expected an ECDSA or RSA key"),
        (lambda: DeviceKey("k", None, None, {}).sign(b"", None), "expected an ECDSA or RSA key"),
    ],
)
def test_a_key_that_signs_no_digest_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        call()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"type": "aes256-gcm96"}, "expected a key of .*got 'aes256-gcm96'"),
        ({"type": "ecdsa-p256", "latest_version": 1, "keys": {}}, "of its newest version"),
        (
            {"type": "ed25519", "latest_version": 1, "keys": {"1": {"public_key": "AA=="}}},
            "expected a public key, got none",
        ),
    ],
)
def test_a_vault_key_that_signs_no_model_is_refused(answer: dict[str, Any], message: str) -> None:
    body = json.dumps({"data": answer}).encode()
    with pytest.raises(errors.UsageError, match=message):
        Signer.from_uri("vault://transit/k", client=lambda *_: (200, body))


@pytest.mark.parametrize("signature", ["vault:v2:AAAA", "vault:v1:%%", ""])
def test_an_answer_of_vault_that_is_no_signature_is_refused(signature: str) -> None:
    key = VaultKey("k", "", lambda *_: {"signature": signature}, 1, "sha2-256", "")
    with pytest.raises(errors.UsageError, match="expected a signature vault:v1:BASE64"):
        key.sign(b"data", bytes(32))


def test_a_service_that_cannot_be_reached_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.UsageError, match="vault: cannot reach http://127"):
        Signer.from_uri("vault://127.0.0.1:9/transit/k")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent"))
    with pytest.raises(errors.UsageError, match="no credentials"):
        Signer.from_uri(f"gcpkms://{VERSION}/1")
