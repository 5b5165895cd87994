from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlsecops import errors
from mlsecops.cli import main
from mlsecops.provenance import hash_path
from mlsecops.signing import (
    KeySigner,
    RobustnessFloor,
    Scope,
    Signer,
    TrustedKey,
    TrustPolicy,
    Verified,
    Verifier,
    sign,
    verify,
)
from tests.attackers.signing import edit_bundle, forge_payload
from tests.signing.authorities import Authority

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_a_key_vouches_only_for_its_models_and_in_its_time(model: Path, signer: KeySigner) -> None:
    sign(model, signer)

    def check(scope: Scope) -> Verified:
        policy = TrustPolicy(keys=[TrustedKey(signer.public_key, scope)])
        return verify(model, policy=policy, at=NOW)

    assert check(Scope(models=("mod*",), not_after=NOW + DAY)).name == "model"
    with pytest.raises(errors.UntrustedSigner, match="may sign"):
        check(Scope(models=("fraud-*",)))
    with pytest.raises(errors.Expired):
        check(Scope(not_after=NOW - timedelta(seconds=1)))
    with pytest.raises(errors.Expired):
        check(Scope(not_before=NOW + timedelta(seconds=1)))


def test_a_key_that_stands_twice_has_both_its_scopes(model: Path, signer: KeySigner) -> None:
    sign(model, signer)
    scopes = [Scope(models=("other",)), Scope(models=("model",))]
    policy = TrustPolicy(keys=[TrustedKey(signer.public_key, scope) for scope in scopes])
    assert verify(model, policy=policy).name == "model"
    with pytest.raises(errors.UsageError, match="different"):
        TrustPolicy(keys=policy.keys, threshold=2)


def test_keys_rotate_the_old_one_counts_until_its_date(model: Path, signer: KeySigner) -> None:
    new = Signer.generate("p256")
    policy = TrustPolicy(
        keys=[TrustedKey(signer.public_key, Scope(not_after=NOW)), TrustedKey(new.public_key)]
    )
    sign(model, signer)
    assert verify(model, policy=policy, at=NOW - DAY).name == "model"
    with pytest.raises(errors.Expired, match="sign again"):
        verify(model, policy=policy, at=NOW + DAY)
    sign(model, [signer, new])
    assert verify(model, policy=policy, at=NOW + DAY).signers == (new.public_key.fingerprint,)


def test_a_revoked_signer_does_not_make_up_the_threshold(model: Path, signer: KeySigner) -> None:
    second, third = Signer.generate("p384"), Signer.generate("ed25519")
    keys = [one.public_key for one in (signer, second, third)]
    sign(model, [signer, second, third])
    revoked = TrustPolicy(keys=keys, threshold=2, revoked=[second.public_key.fingerprint])
    assert verify(model, policy=revoked).signers == (keys[0].fingerprint, keys[2].fingerprint)
    with pytest.raises(errors.ThresholdNotMet, match=r"expected 3 .*got 2.*is revoked"):
        verify(
            model,
            policy=TrustPolicy(keys=keys, threshold=3, revoked=[second.public_key.fingerprint]),
        )


def test_a_signature_copied_under_another_key_s_name_is_refused(
    model: Path, signer: KeySigner
) -> None:
    second = Signer.generate("p256")
    sign(model, [signer, second])

    def copy(value: dict[str, Any]) -> None:
        mine, other = value["dsseEnvelope"]["signatures"]
        other["sig"] = mine["sig"]

    edit_bundle(model / "model.sig", copy)
    policy = TrustPolicy(keys=[signer.public_key, second.public_key], threshold=2)
    with pytest.raises(errors.SignatureInvalid, match=second.public_key.fingerprint[:16]):
        verify(model, policy=policy)


def test_one_signer_is_not_counted_twice_under_two_names(model: Path, signer: KeySigner) -> None:
    second = Signer.generate("p256")
    sign(model, [signer, second])

    def twice(value: dict[str, Any]) -> None:
        mine, other = value["dsseEnvelope"]["signatures"]
        other.update(mine)
        other["keyid"] = ""

    edit_bundle(model / "model.sig", twice)
    policy = TrustPolicy(keys=[signer.public_key, second.public_key], threshold=2)
    with pytest.raises(errors.ThresholdNotMet, match="got 1"):
        verify(model, policy=policy)


def test_no_version_older_than_the_floor_is_accepted(model: Path, signer: KeySigner) -> None:
    keys = [signer.public_key]
    sign(model, signer, version=3)
    assert verify(model, policy=TrustPolicy(keys=keys, floor=3)).version == 3
    with pytest.raises(errors.RollbackRefused, match=r"expected version 4 or newer.*got version 3"):
        verify(model, policy=TrustPolicy(keys=keys, floor=4))
    with pytest.raises(errors.RollbackRefused):
        verify(model, policy=TrustPolicy(keys=keys, floor={"mod*": 2, "model": 4}))
    assert verify(model, policy=TrustPolicy(keys=keys, floor={"fraud": 9})).version == 3
    sign(model, signer)
    with pytest.raises(errors.RollbackRefused, match="without a version"):
        verify(model, policy=TrustPolicy(keys=keys, floor=1))
    assert verify(model, policy=TrustPolicy(keys=keys)).version is None


def test_the_version_is_signed_and_other_verifiers_ignore_it(
    model: Path, signer: KeySigner, policy: TrustPolicy, tmp_path: Path
) -> None:
    sign(model, signer, version=3)
    forge_payload(model / "model.sig", signer, lambda p: p["predicate"].update(version="9"))
    with pytest.raises(errors.MalformedBundle, match="version"):
        verify(model, policy=policy)
    sign(model, signer, version=3)
    (tmp_path / "key.pub.pem").write_text(signer.public_key.pem)
    theirs = pytest.importorskip("model_signing")
    config = theirs.verifying.Config()
    config.use_elliptic_key_verifier(public_key=tmp_path / "key.pub.pem")
    config.verify(model, model / "model.sig")


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "2"])
def test_a_version_is_a_number_from_one_on(model: Path, signer: KeySigner, version: Any) -> None:
    with pytest.raises(errors.UsageError, match="version"):
        sign(model, signer, version=version)


@pytest.mark.parametrize("write", ["bare", "prefixed", "colons", "upper"])
def test_revocations_are_read_however_tools_write_them(
    model: Path, signer: KeySigner, write: str
) -> None:
    sign(model, signer)
    digest = hash_path(model).root.hex
    text = {
        "bare": digest,
        "prefixed": f"sha256:{digest}",
        "colons": ":".join(digest[i : i + 2] for i in range(0, 64, 2)),
        "upper": digest.upper(),
    }[write]
    with pytest.raises(errors.Revoked):
        verify(model, policy=TrustPolicy(keys=[signer.public_key], revoked=[text]))


@pytest.mark.parametrize("text", ["ab", "sha256:abcd", "", "x" * 64, "ab:cd", 3, "f" * 63])
def test_a_revocation_that_would_match_nothing_is_refused(text: Any) -> None:
    with pytest.raises(errors.UsageError, match="revoked"):
        TrustPolicy(revoked=[text])


def test_a_policy_file_says_the_same_as_python(
    model: Path, tmp_path: Path, signer: KeySigner
) -> None:
    (tmp_path / "release.pem").write_text(signer.public_key.pem)
    (tmp_path / "time.pem").write_bytes(Authority.root("time").pem())
    path = tmp_path / "trust.toml"
    path.write_text(
        'threshold = 1\nrevoked = ["sha256:' + "0" * 64 + '"]\n'
        '[[keys]]\npath = "release.pem"\nmodels = ["model"]\nnot_after = 2031-01-01\n'
        '[[roots]]\npath = "time.pem"\nmodels = ["x"]\n'
        '[[timestamp_roots]]\npath = "time.pem"\n[floor]\n"mod*" = 2\n'
    )
    policy = TrustPolicy.load(path)
    assert len(policy.timestamp_roots) == 1
    assert policy.roots[0].scope == Scope(models=("x",))
    sign(model, signer, version=2)
    assert verify(model, policy=policy, at=NOW).name == "model"
    with pytest.raises(errors.Expired):
        verify(model, policy=policy, at=NOW + timedelta(days=700))
    sign(model, signer, version=1)
    with pytest.raises(errors.RollbackRefused):
        verify(model, policy=policy, at=NOW)
    assert main(["verify", str(model), "--policy", str(path), "--at", "2030-01-01"]) == 1


def test_bytes_revoked_by_digest_do_not_come_back_under_another_algorithm(
    model: Path, tmp_path: Path, signer: KeySigner
) -> None:
    revoked = [str(hash_path(model).root)]
    sign(model, signer, algorithm="sha512")
    loose = TrustPolicy(keys=[signer.public_key], revoked=revoked)
    assert verify(model, policy=loose).name == "model"
    strict = TrustPolicy(keys=[signer.public_key], revoked=revoked, algorithms=["sha256"])
    with pytest.raises(errors.PolicyError, match="expected digests of sha256, got sha512"):
        verify(model, policy=strict)

    (tmp_path / "release.pem").write_text(signer.public_key.pem)
    path = tmp_path / "trust.toml"
    path.write_text('algorithms = ["sha256", "blake3"]\n[[keys]]\npath = "release.pem"\n')
    assert TrustPolicy.load(path).algorithms == ("sha256", "blake3")
    assert main(["verify", str(model), "--policy", str(path)]) == 1
    sign(model, signer)
    assert main(["verify", str(model), "--policy", str(path)]) == 0


@pytest.mark.parametrize(
    "text",
    ["threshold = 0", "treshold = 1", "[[keys]]", '[[keys]]\npath="nowhere.pem"', "revoked=[1]",
     'revoked=["xyz"]', "keys = 3", "=", '[[keys]]\npem="x"\nnot_after="soon"', "threshold = 2",
     "floor = -1", 'floor = "3"', "[floor]\nx = true", "threshold = true", "timestamp_roots = 1",
     "algorithms = []", 'algorithms = ["md5"]', 'algorithms = "sha256"', "algorithms = [1]",
     '[[timestamp_roots]]\npem="x"', '[[timestamp_roots]]\npath="x"\nmodels=["a"]',
     '[[roots]]\npem="-----BEGIN CERTIFICATE-----"'],
)  # fmt: skip
def test_a_policy_file_that_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trust.toml").write_text(text)
    with pytest.raises(errors.UsageError):
        TrustPolicy.load(tmp_path / "trust.toml")


KEY = '[[keys]]\npath = "release.pem"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('threshold = "2"', "expected threshold to be a number"),
        ("revoked = 3", "revoked a list"),
        ('floor = "3"', "expected floor to be a version"),
        ('[[identities]]\nsubject = "anna@corp.example"', "a subject and an issuer"),
        ("trusted_root = 3", "expected trusted_root to be a path"),
        ("require = 3", r"expected a \[require\] table"),
        ("[require]\nrobustness = 3", r"\[require\] .*robustness"),
        ('algorithms = "sha256"', "expected algorithms to be a list"),
        (KEY + 'not_after = "soon"', "'soon' is not a time"),
        (KEY + "not_after = 3", "expected a date or time, got 3"),
        ("\udcff", "expected TOML"),
    ],
)
def test_a_policy_file_says_where_and_what_is_wrong(
    tmp_path: Path, signer: KeySigner, text: str, message: str
) -> None:
    (tmp_path / "release.pem").write_text(signer.public_key.pem)
    path = tmp_path / "trust.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(errors.UsageError, match=rf"trust\.toml: .*{message}"):
        TrustPolicy.load(path)


def test_what_a_policy_names_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match=r"cannot read .*absent\.toml"):
        TrustPolicy.load(tmp_path / "absent.toml")
    with pytest.raises(errors.UsageError, match="of a program file"):
        TrustPolicy(code=["sha512:" + "0" * 128])
    with pytest.raises(errors.UsageError, match="attack: expected the name of an attack"):
        RobustnessFloor(attack="", min_accuracy=0.5)


@pytest.mark.parametrize("make", [verify, lambda _, **options: Verifier(**options)])
def test_a_time_without_a_timezone_is_refused(
    model: Path, signer: KeySigner, policy: TrustPolicy, make: Callable[..., object]
) -> None:
    sign(model, signer)
    with pytest.raises(errors.UsageError, match="timezone"):
        make(model, policy=policy, at=datetime(2030, 1, 1))  # noqa: DTZ001 - the fault under test


@pytest.mark.parametrize("models", ["fraud-*", "*", b"fraud-*", {"fraud-*": 1}, 3, ["fraud", 3]])
def test_a_scope_that_is_no_list_of_patterns_is_refused(models: Any) -> None:
    with pytest.raises(errors.UsageError, match="models: expected a list of patterns"):
        Scope(models=models)


def test_a_scope_takes_a_list_and_needs_times_with_a_timezone(signer: KeySigner) -> None:
    assert Scope(models=["fraud-*"]) == Scope(models=("fraud-*",))
    with pytest.raises(errors.UsageError, match="not_after: expected a time with a timezone"):
        Scope(not_after=datetime(2030, 1, 1))  # noqa: DTZ001 - the fault under test
    with pytest.raises(errors.UsageError, match="key: expected a PublicKey"):
        TrustedKey(signer)  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize("argument", ["keys", "roots", "timestamp_roots", "revoked", "algorithms"])
def test_one_value_where_a_policy_expects_several_is_refused(
    argument: str, signer: KeySigner, tmp_path: Path
) -> None:
    key = tmp_path / "release.pem"
    key.write_text(signer.public_key.pem)
    for one in (str(key), key, key.read_text(), key.read_bytes(), signer.public_key, signer, "*"):
        with pytest.raises(errors.UsageError, match=f"{argument}: expected a list of") as caught:
            TrustPolicy(**{argument: one})
        assert "BEGIN" not in str(caught.value)
    with pytest.raises(errors.UsageError, match=f"{argument}: .*got one KeySigner|revoked"):
        TrustPolicy(**{argument: [signer]})
