"""Name of a signed model against the expected one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.signing import (
    KeySigner,
    Scope,
    Signer,
    TrustedKey,
    TrustPolicy,
    expected_name,
    sign,
    sign_detached,
    verify,
)
from tests.attackers.signing import legacy_bundle, put_in_place

TOY = Signer.generate("p256")
RSA = Signer.generate("rsa")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    folder = tmp_path / "toy-model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"toy")
    sign(folder, TOY, version=9)
    return folder


@pytest.fixture
def scoped(signer: KeySigner) -> TrustPolicy:
    """The release key signs models, the toy key signs toys."""
    names = {signer: ("model", "fraud-*"), TOY: ("toy-*",)}
    return TrustPolicy(
        keys=[TrustedKey(key.public_key, Scope(models=models)) for key, models in names.items()]
    )


def test_another_signed_model_in_a_folder_is_refused_with_both_names(
    model: Path, toy: Path, scoped: TrustPolicy, signer: KeySigner
) -> None:
    sign(model, signer)
    assert verify(model, policy=scoped).name == "model"
    assert verify(toy, policy=scoped).name == "toy-model"
    with pytest.raises(errors.UntrustedSigner, match=r"expected .*'model', got .*'toy-model'"):
        verify(put_in_place(model, toy), policy=scoped)


def test_another_signed_file_in_place_of_a_file_is_refused(
    tmp_path: Path, scoped: TrustPolicy
) -> None:
    toy, served = tmp_path / "toy-model.safetensors", tmp_path / "fraud-model.safetensors"
    toy.write_bytes(b"toy")
    sign(toy, TOY)
    assert verify(toy, policy=scoped).name == toy.name
    with pytest.raises(errors.UntrustedSigner, match=r"fraud-model\.safet.*toy-model\.safet"):
        verify(put_in_place(served, toy), policy=scoped)


@pytest.mark.parametrize("floor", [{"model": 3}, {"mod*": 1, "*": 1}, {"*": 0, "fraud-*": 2}])
def test_floors_by_name_bind_the_folder_that_is_asked_for(
    model: Path, toy: Path, floor: dict[str, int]
) -> None:
    policy = TrustPolicy(keys=[TOY.public_key], floor=floor)
    assert verify(toy, policy=policy).version == 9
    with pytest.raises(errors.UntrustedSigner, match="'toy-model'"):
        verify(put_in_place(model, toy), policy=policy)


@pytest.mark.parametrize(
    "policy",
    [
        TrustPolicy(keys=[TOY.public_key]),
        TrustPolicy(keys=[TrustedKey(TOY.public_key, Scope(models=("x", "*")))], floor=3),
        TrustPolicy(keys=[TOY.public_key], floor={"*": 2, "fraud-*": 0}),
    ],
)
def test_a_policy_without_names_takes_a_renamed_folder_unless_a_name_is_demanded(
    model: Path, toy: Path, policy: TrustPolicy
) -> None:
    served = put_in_place(model, toy)
    assert not policy.restricts_names
    assert verify(served, policy=policy, name="toy-model").name == "toy-model"
    assert verify(served, policy=policy).name == "toy-model"
    with pytest.raises(errors.UntrustedSigner, match=r"expected .*'model', got .*'toy-model'"):
        verify(served, policy=policy, name="model")


def test_a_demanded_name_frees_a_folder_of_its_own(
    model: Path, toy: Path, scoped: TrustPolicy
) -> None:
    served = put_in_place(model.with_name("3f2a91"), toy)
    assert verify(served, policy=scoped, name="toy-model").name == "toy-model"


def test_spellings_of_one_path_have_one_name(
    toy: Path, scoped: TrustPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "layers").mkdir()
    monkeypatch.chdir(toy / "layers")
    for path in (f"{toy}/", toy / ".", "..", toy.parent / "." / toy.name):
        assert verify(path, policy=scoped).name == "toy-model"
    monkeypatch.chdir(toy)
    assert verify(".", policy=scoped).name == "toy-model"


def test_a_link_to_another_model_is_that_of_its_own_name(
    tmp_path: Path, toy: Path, scoped: TrustPolicy
) -> None:
    (tmp_path / "fraud-model").symlink_to(toy)
    with pytest.raises(errors.UntrustedSigner, match="'fraud-model'"):
        verify(tmp_path / "fraud-model", policy=scoped)


def test_a_legacy_signature_without_a_name_is_of_no_expected_model(model: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (model / "model.sig").write_bytes(legacy_bundle(model, key))
    public = KeySigner(key).public_key
    assert verify(model, policy=TrustPolicy(keys=[public]), legacy=True).name == "(unnamed)"
    for policy, name in (
        (TrustPolicy(keys=[public]), "model"),
        (TrustPolicy(keys=[public], floor={"fraud-*": 3}), None),
    ):
        with pytest.raises(errors.UntrustedSigner, match=r"got one signed as '\(unnamed\)'"):
            verify(model, policy=policy, legacy=True, name=name)


def test_a_bare_signature_names_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"weights")
    sign_detached(path, RSA)
    assert verify(path, policy=TrustPolicy(keys=[RSA.public_key])).detached
    other = TrustedKey(TOY.public_key, Scope(models=("toy-*",)))
    alone, both = (TrustPolicy(keys=[RSA.public_key, *more]) for more in ((), (other,)))
    for policy, name in ((alone, "model.h5"), (both, None)):
        with pytest.raises(errors.UntrustedSigner, match="names no model"):
            verify(path, policy=policy, name=name)


@pytest.mark.parametrize("spec_names", [False, True])
def test_a_signer_chooses_the_name_of_a_folder_or_file(
    model: Path, scoped: TrustPolicy, signer: KeySigner, *, spec_names: bool
) -> None:
    for path in (model, model / "config.json"):
        sign(path, signer, name="fraud-model", version=3, spec_names=spec_names)
        verified = verify(path, policy=scoped, name="fraud-model")
        assert (verified.name, verified.version) == ("fraud-model", 3)
        with pytest.raises(errors.UntrustedSigner, match="'fraud-model'"):
            verify(path, policy=scoped)
        (model / "config.json.sig").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2K", 3])
def test_a_name_that_cannot_be_printed_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy, name: str
) -> None:
    sign(model, signer)
    actions: list[Callable[[], object]] = [
        lambda: sign(model, signer, name=name),
        lambda: verify(model, policy=policy, name=name),
    ]
    for action in actions:
        with pytest.raises(errors.UsageError, match="name"):
            action()


def test_a_pinned_digest_takes_the_place_of_the_name() -> None:
    assert expected_name("model", None, pinned=True) is None
    demanded = expected_name("model", "fraud", pinned=True)
    assert demanded is not None
    assert demanded.demanded


def test_the_command_signs_and_verifies_by_name(
    model: Path, signer: KeySigner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    key.write_bytes(signer.to_pem())
    public.write_text(signer.public_key.pem)
    assert main(["sign", str(model), "--key", str(key), "--name", "fraud-model"]) == 0
    check = ["verify", str(model), "--key", str(public)]
    assert main([*check, "--name", "fraud-model"]) == 0
    capsys.readouterr()
    assert main([*check, "--name", "toy-model"]) == 1
    said = capsys.readouterr().err
    assert "'toy-model'" in said
    assert "'fraud-model'" in said
