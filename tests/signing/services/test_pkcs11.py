"""Keys in PKCS #11 tokens, on a software HSM."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pkcs11")

from pkcs11 import KeyType

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.signing import KeySigner, Signer, TrustPolicy, sign, verify
from mlsecops.signing.services.pkcs11 import DeviceKey
from tests.signing.services.conftest import PIN, URI_PIN


@pytest.mark.parametrize(
    ("kind", "number"), [("p256", "01"), ("p384", "02"), ("p521", "03"), ("rsa", "04")]
)
def test_a_key_of_a_token_signs_a_model(
    model: Path, hsm: Path, import_key: Callable[..., KeySigner], kind: str, number: str
) -> None:
    held = import_key(kind, f"release {kind}", number)
    uri = f"pkcs11:token=corp;object=release%20{kind}?module-path={hsm}&pin-value={URI_PIN}"
    signer = Signer.from_uri(uri)
    assert signer.public_key == held.public_key
    sign(model, signer)
    verify(model, policy=TrustPolicy(keys=[held.public_key]))
    same = f"pkcs11:token=corp;id=%{number};type=private?module-path={hsm}&pin-value={URI_PIN}"
    assert Signer.from_uri(same).public_key == held.public_key
    assert "1234" not in repr(signer)


def test_one_key_uri_is_enough_for_the_command(
    model: Path,
    hsm: Path,
    import_key: Callable[..., KeySigner],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = import_key("p256", "command", "11")
    (tmp_path / "key.pub.pem").write_text(held.public_key.pem)
    (tmp_path / "pin").write_text(f"{PIN}\n")
    name = "pkcs11:token=corp;object=command"
    monkeypatch.setenv("HSM_PIN", PIN)
    assert main(["sign", str(model), "--key", f"{name}?module-path={hsm}&pin-value={URI_PIN}"]) == 0
    file = f"{name}?module-path={hsm}&pin-source=file:{tmp_path}/pin"
    assert main(["sign", str(model), "--key", file]) == 0
    variable = ["--key", f"{name}?module-path={hsm}", "--password-env", "HSM_PIN"]
    assert main(["sign", str(model), *variable]) == 0
    assert main(["verify", str(model), "--key", str(tmp_path / "key.pub.pem")]) == 0


def test_two_tokens_reach_a_threshold(
    model: Path, hsm: Path, import_key: Callable[..., KeySigner]
) -> None:
    keys = [import_key("p256", "anna", "21"), import_key("p384", "bert", "22", token="other")]
    signers = [
        Signer.from_uri(f"pkcs11:token={token};object={name}?module-path={hsm}&pin-value={URI_PIN}")
        for token, name in (("corp", "anna"), ("other", "bert"))
    ]
    sign(model, signers[0])
    sign(model, signers[1], add=True)
    both = TrustPolicy(keys=[key.public_key for key in keys], threshold=2)
    assert len(verify(model, policy=both).signers) == 2


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pkcs11:token=corp;object=absent?module-path={}&pin-value=" + URI_PIN, "got none"),
        ("pkcs11:token=absent;object=a?module-path={}&pin-value=" + URI_PIN, "one token, got none"),
        ("pkcs11:token=corp;object=wrong?module-path={}&pin-value=0000", "PinIncorrect"),
        ("pkcs11:token=corp;object=a?module-path={}x&pin-value=1", "cannot load the module"),
        ("pkcs11:token=corp;object=a?pin-value=1", "module-path"),
        ("pkcs11:token=corp;object=a?module-path=/usr&pin-value=1", "/usr is a folder"),
        ("pkcs11:token=corp?module-path={}&pin-value=1", "object="),
        ("pkcs11:token=corp;token=other;object=a?module-path={}", "once each"),
        ("pkcs11:token=corp;objekt=a?module-path={}", "unknown attribute 'objekt'"),
        ("pkcs11:token=corp;object=a;type=cert?module-path={}", "type=private"),
        ("pkcs11:token=corp;object=a?module-path={}&pin-value=1&pin-source=b", "got both"),
        ("pkcs11:token=corp;object=a?module-path={}&pin-source=/absent", "cannot read pin-source"),
        ("pkcs11:token=corp;object=%ff?module-path={}&pin-value=" + URI_PIN, "UTF-8"),
        ("pkcs12:token=corp", "at its begin"),
    ],
)
def test_what_names_no_key_is_refused(hsm: Path, uri: str, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message) as caught:
        Signer.from_uri(uri.replace("{}", str(hsm)))
    assert URI_PIN not in str(caught.value)


def test_slots_without_a_token_of_anybody_s_do_not_count(
    hsm: Path, import_key: Callable[..., KeySigner]
) -> None:
    assert import_key("p256", "alone", "41")
    uri = f"pkcs11:object=alone?module-path={hsm}&pin-value={URI_PIN}"
    with pytest.raises(errors.UsageError, match="got 2; name it with token="):
        Signer.from_uri(uri)  # two tokens; the empty slot is the third


def test_a_module_is_found_by_its_name(
    hsm: Path, import_key: Callable[..., KeySigner], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_key("p256", "named", "31")
    name = f"pkcs11:token=corp;object=named?pin-value={URI_PIN}"
    Signer.from_uri(f"{name}&module-name=softhsm2")
    Signer.from_uri(f"{name}&module-name=softhsm2&module-path={hsm.parent}")
    monkeypatch.setenv("PKCS11_MODULE_PATH", str(hsm))
    Signer.from_uri(name)
    with pytest.raises(errors.UsageError, match="without '/'"):
        Signer.from_uri(f"{name}&module-name=..%2Fevil")


def test_a_key_of_a_kind_that_signs_no_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    edwards = SimpleNamespace(key_type=KeyType.EC_EDWARDS)
    monkeypatch.setattr(DeviceKey, "one", lambda *_: edwards)
    monkeypatch.setattr(DeviceKey, "session", lambda _: nullcontext())
    with pytest.raises(errors.UsageError, match="got EC_EDWARDS"):
        DeviceKey("k", None, None, {}).public()
