"""The commands hash, keygen, sign and verify."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from mlsecops.cli.signing import keygen
from mlsecops.provenance import hash_path
from mlsecops.signing import Signer
from tests.cli.conftest import Command, Release, tamper


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "notes.txt").write_bytes(b"notes")
    return folder


@pytest.fixture
def key(command: Command, tmp_path: Path) -> Path:
    assert command("keygen", "--out", tmp_path / "key.pem").status == 0
    return tmp_path / "key.pem"


def test_a_folder_is_hashed(command: Command, model: Path) -> None:
    outcome = command("hash", model)
    assert outcome.status == 0
    assert outcome.out.startswith(str(hash_path(model).root))
    assert outcome.err == ""


def test_hash_formats(command: Command, model: Path, tmp_path: Path) -> None:
    sums = command("hash", model, "--format", "sha256sums").out
    assert f"{hashlib.sha256(b'weights').hexdigest()}  weights.bin" in sums
    plain = json.loads(command("hash", model, "--format", "json").out)
    assert plain == hash_path(model).to_dict()
    croissant = json.loads(command("hash", model, "--format", "croissant").out)
    assert croissant["distribution"]
    assert command("hash", model, "--format", "json", "--out", tmp_path / "m.json").out == ""
    assert json.loads((tmp_path / "m.json").read_text()) == plain


def test_the_content_of_a_table_is_hashed(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_text("x,y\n0.5,a\n1.5,b\n")
    outcome = command("hash", place, "--by", "content")
    assert (outcome.status, outcome.out.split("  ", 1)[1]) == (0, "t.csv (3 parts, 28 bytes)\n")
    value = json.loads(command("hash", place, "--by", "content", "--format", "croissant").out)
    assert value["distribution"][0]["sha256"] == hashlib.sha256(place.read_bytes()).hexdigest()
    assert [field["name"] for field in value["recordSet"][0]["field"]] == ["x", "y"]
    assert command("hash", place, "--by", "content", "--cache", tmp_path / "c").status == 2
    assert command("hash", tmp_path, "--by", "content", "--format", "croissant").status == 0
    (tmp_path / "t.txt").write_text("x")
    assert command("hash", tmp_path, "--by", "content").status == 2


def test_other_algorithms_are_chosen(command: Command, model: Path) -> None:
    told = command("hash", model, "--algorithm", "sha512", "--format", "json").out
    assert hashlib.sha512(b"weights").hexdigest() in told
    assert command("hash", model, "--algorithm", "md5").status == 2


def test_a_missing_path_cannot_be_hashed(command: Command, tmp_path: Path) -> None:
    outcome = command("hash", tmp_path / "absent")
    assert outcome.status == 2
    assert "absent" in outcome.said


def test_a_link_in_a_folder_is_refused(command: Command, model: Path) -> None:
    (model / "link").symlink_to("/etc/passwd")
    outcome = command("hash", model)
    assert outcome.status == 1
    assert "link" in outcome.said


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "ed25519", "rsa"])
def test_every_kind_of_key_signs_and_verifies(
    command: Command, model: Path, tmp_path: Path, kind: str
) -> None:
    private, public = tmp_path / "k.pem", tmp_path / "k.pub.pem"
    assert command("keygen", "--type", kind, "--out", private).status == 0
    assert command("sign", model, "--key", private).status == 0
    outcome = command("verify", model, "--key", public)
    assert outcome.status == 0
    assert str(hash_path(model).root) in outcome.out


def test_a_private_key_is_for_its_owner_alone(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "PRIVATE" not in key.with_name("key.pub.pem").read_text()


def test_a_key_is_never_overwritten(command: Command, key: Path) -> None:
    before = key.read_bytes()
    outcome = command("keygen", "--out", key)
    assert outcome.status == 2
    assert "overwritten" in outcome.said
    assert key.read_bytes() == before


def test_a_key_may_have_a_password(
    command: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("keygen", "--out", tmp_path / "k.pem", "--password-env", "KEY_PASSWORD")
    assert "KEY_PASSWORD" in command(*words).said
    monkeypatch.setenv("KEY_PASSWORD", "correct horse")
    made = command(*words)
    assert made.status == 0
    assert "correct horse" not in made.out + made.err
    assert b"ENCRYPTED" in (tmp_path / "k.pem").read_bytes()
    sign = ("sign", model, "--key", tmp_path / "k.pem", "--password-env", "KEY_PASSWORD")
    assert command(*sign).status == 0
    monkeypatch.setenv("KEY_PASSWORD", "wrong horse")
    refused = command(*sign)
    assert refused.status == 2
    assert "horse" not in refused.said


def test_an_encrypted_key_asks_only_a_person(
    command: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "k.pem").write_bytes(Signer.generate("p256").to_pem(password="secret"))
    outcome = command("sign", model, "--key", tmp_path / "k.pem")
    assert outcome.status == 2
    assert "--password-env" in outcome.said
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret" if prompt else "")
    assert command("sign", model, "--key", tmp_path / "k.pem").status == 0


def test_a_change_is_named(command: Command, model: Path, key: Path) -> None:
    command("sign", model, "--key", key)
    tamper(model / "weights.bin")
    outcome = command("verify", model, "--key", key.with_name("key.pub.pem"))
    assert outcome.status == 1
    assert "weights.bin" in outcome.said
    assert "DigestMismatch" in outcome.said


def test_an_unsigned_file_is_refused_unless_reported(
    command: Command, model: Path, key: Path
) -> None:
    command("sign", model, "--key", key)
    (model / "added.txt").write_text("new")
    public = key.with_name("key.pub.pem")
    assert "added.txt" in command("verify", model, "--key", public).said
    reported = command("verify", model, "--key", public, "--ignore-unsigned")
    assert reported.status == 0
    assert "added.txt" in reported.out


def test_an_ignored_path_is_recorded_and_listed(command: Command, model: Path, key: Path) -> None:
    command("sign", model, "--key", key, "--ignore", "notes.txt")
    (model / "notes.txt").write_text("changed")
    outcome = command("verify", model, "--key", key.with_name("key.pub.pem"), "--format", "json")
    assert outcome.status == 0
    assert "notes.txt" in json.loads(outcome.out)["ignored"]


def test_an_unsigned_model_and_a_stranger_are_refused(command: Command, release: Release) -> None:
    assert "UntrustedSigner" in command("verify", release.model, "--key", release.stranger).said
    (release.model / "model.sig").unlink()
    outcome = command("verify", release.model, "--key", release.public)
    assert outcome.status == 1
    assert "SignatureMissing" in outcome.said


def test_a_bundle_may_lie_elsewhere(command: Command, model: Path, key: Path) -> None:
    bundle = key.with_name("elsewhere.sig")
    assert command("sign", model, "--key", key, "--out", bundle).status == 0
    assert not (model / "model.sig").exists()
    public = key.with_name("key.pub.pem")
    assert command("verify", model, "--bundle", bundle, "--key", public).status == 0
    bundle.write_text("{}")
    assert command("verify", model, "--bundle", bundle, "--key", public).status == 1


def test_a_file_is_signed_beside_itself(command: Command, model: Path, key: Path) -> None:
    weights = model / "weights.bin"
    assert command("sign", weights, "--key", key).status == 0
    assert (model / "weights.bin.sig").is_file()
    assert command("verify", weights, "--key", key.with_name("key.pub.pem")).status == 0


def test_a_policy_file_sets_the_threshold(command: Command, model: Path, key: Path) -> None:
    command("sign", model, "--key", key)
    command("keygen", "--out", key.with_name("second.pem"))
    policy = key.with_name("trust.toml")
    keys = '[[keys]]\npath = "key.pub.pem"\n[[keys]]\npath = "second.pub.pem"\n'
    policy.write_text(keys)
    assert command("verify", model, "--policy", policy).status == 0
    policy.write_text(f"threshold = 2\n{keys}")
    assert "ThresholdNotMet" in command("verify", model, "--policy", policy).said
    both = (key.with_name("key.pub.pem"), key.with_name("second.pub.pem"))
    assert command("verify", model, "--key", *both, "--threshold", "2").status == 1


def test_wrong_use_is_told_apart(command: Command, model: Path, key: Path) -> None:
    public = key.with_name("key.pub.pem")
    (key.with_name("trust.toml")).write_text("nonsense = 1\n")
    command("sign", model, "--key", key)
    for words, told in (
        (("verify", model), "--key"),
        (("verify", model, "--key", "absent.pem"), "absent.pem"),
        (("verify", model, "--policy", key.with_name("trust.toml")), "nonsense"),
        (("verify", model, "--policy", "trust.toml", "--key", public), "--policy"),
        (("verify", model, "--key", public, "--threshold", "2"), "threshold"),
        (("sign", model), "--key"),
        (("sign", model, "--key", "absent.pem"), "absent.pem"),
        (("sign", model, "--key", public), "key.pub.pem"),
        (("sign", "absent", "--key", key), "absent"),
        (("keygen", "--type", "dsa", "--out", "k.pem"), "dsa"),
        (("keygen",), "--out"),
    ):
        outcome = command(*words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_the_public_key_lies_beside_the_private_one() -> None:
    assert keygen.public_path_of(Path("a/release.pem")) == Path("a/release.pub.pem")
    assert keygen.public_path_of(Path("a/release")) == Path("a/release.pub.pem")


def test_shards_are_signed_and_what_they_do_not_cover_is_said(
    command: Command, model: Path, key: Path
) -> None:
    (model / "empty").touch()
    signed = command("sign", model, "--key", key, "--shard-size", "4")
    assert signed.status == 0
    assert "does not cover empty files" in signed.said
    assert "Warning" not in signed.err
    verified = command("verify", model, "--key", key.with_suffix(".pub.pem"))
    assert verified.status == 0
    assert "not covered by the signature: empty" in verified.out


def test_keys_named_one_by_one_are_all_trusted(command: Command, model: Path, key: Path) -> None:
    command("sign", model, "--key", key)
    command("keygen", "--out", key.with_name("second.pem"))
    first, second = key.with_name("key.pub.pem"), key.with_name("second.pub.pem")
    for one, other in ((first, second), (second, first)):
        assert command("verify", model, "--key", one, "--key", other).status == 0


def test_several_keys_sign_at_once_or_one_after_the_other(
    command: Command, model: Path, key: Path, tmp_path: Path
) -> None:
    second, place = tmp_path / "second.pem", model / "model.sig"
    command("keygen", "--out", second)
    keys = [key.with_name("key.pub.pem"), key.with_name("second.pub.pem")]
    both = ("verify", model, "--threshold", "2", "--key", *keys)
    assert command("sign", model, "--key", key, "--key", second).status == 0
    assert command(*both).status == 0
    assert command("sign", model, "--key", key, "--replace").status == 0
    alone = place.read_bytes()
    refused = command("sign", model, "--key", second)
    assert refused.status == 2
    assert "--add" in refused.err
    assert "--replace" in refused.err
    assert command("sign", model, "--key", second, "--add", "--replace").status == 2
    assert place.read_bytes() == alone
    added = command("sign", model, "--key", second, "--add")
    assert added.status == 0
    assert "signs what the bundle says: plain" in added.out
    assert command(*both).status == 0
    (model / "notes.txt").write_text("changed")
    assert command("sign", model, "--key", key, "--add").status == 1


def test_a_threshold_of_nobody_is_wrong_use(command: Command, model: Path, key: Path) -> None:
    command("sign", model, "--key", key)
    public = key.with_name("key.pub.pem")
    assert command("verify", model, "--key", public, "--threshold", "0").status == 2
