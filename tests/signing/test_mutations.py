"""Every single change to a signed model is refused by name, and no untouched model is."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import Statement, hash_path
from mlsecops.signing import Bundle, KeySigner, Signer, TrustPolicy, sign, verify
from tests.attackers.signing import changed_at, leaves
from tests.signing.authorities import Authority

ROUNDS = 12
"""Changes that are tried at each place of a bundle."""


def lay_out(root: Path) -> Path:
    for name in ("a.bin", "b/c.bin", "b/d é.json", "b-c", "empty"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else f"content of {name}".encode() * 3)
    return root


@pytest.fixture(scope="module", params=["key", "two keys", "certificate"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrustPolicy]:
    root = lay_out(tmp_path_factory.mktemp("mutated") / "model")
    statement = Statement.build(
        subjects={"model": hash_path(root).root}, predicate_type="urn:bom", predicate={"a": 1}
    )
    if request.param == "certificate":
        authority = Authority.root()
        between = authority.intermediate()
        chain = (between.certificate, authority.certificate)
        sign(root, between.signer(*chain), statements=[statement])
        return root, TrustPolicy(roots=[authority.pem()])
    signers = [Signer.generate("p256"), Signer.generate("ed25519")]
    used = signers if request.param == "two keys" else signers[:1]
    sign(root, used, statements=[statement])
    keys = [one.public_key for one in used]
    return root, TrustPolicy(keys=keys, threshold=len(keys))


def refused(root: Path, policy: TrustPolicy) -> errors.VerificationError:
    with pytest.raises(errors.VerificationError) as caught:
        verify(root, policy=policy)
    return caught.value


def test_every_change_to_a_bundle_is_refused_and_says_where(
    case: tuple[Path, TrustPolicy],
) -> None:
    root, policy = case
    place = root / "model.sig"
    original = place.read_bytes()
    value = json.loads(original)
    draw = random.Random(0)  # noqa: S311 - reproducible, not secret
    tried = 0
    try:
        for leaf in leaves(value):
            for _ in range(ROUNDS):
                place.write_text(json.dumps(changed_at(value, leaf, draw)))
                error = refused(root, policy)
                assert isinstance(error, (errors.SignatureError, errors.PolicyError)), leaf
                assert "model.sig" in str(error) or "CN=" in str(error), (leaf, str(error))
                tried += 1
    finally:
        place.write_bytes(original)
    assert tried >= 70
    verify(root, policy=policy)


def test_every_change_to_the_statement_is_refused(case: tuple[Path, TrustPolicy]) -> None:
    root, policy = case
    place = root / "model.sig"
    original = place.read_bytes()
    value = json.loads(original)
    payload = json.loads(base64.b64decode(value["dsseEnvelope"]["payload"]))
    draw = random.Random(0)  # noqa: S311 - reproducible, not secret
    edits = [changed_at(payload, leaf, draw) for leaf in leaves(payload) for _ in range(2)]
    resources = payload["predicate"]["resources"]
    for changed in (resources[1:], resources[::-1], [*resources, resources[0]]):
        predicate = {**payload["predicate"], "resources": changed}
        edits.append({**payload, "predicate": predicate})
    try:
        for edit in edits:
            text = json.dumps(edit, separators=(",", ":")).encode()
            value["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()
            place.write_text(json.dumps(value))
            assert isinstance(refused(root, policy), errors.SignatureError), edit
    finally:
        place.write_bytes(original)
    assert len(edits) > 40
    verify(root, policy=policy)


def rename(path: Path) -> str:
    path.rename(path.with_name("renamed"))
    return "renamed"


def append(path: Path) -> str:
    with path.open("ab") as stream:
        stream.write(b"\0")
    return path.name


def truncate(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1] or b"x")
    return path.name


def remove(path: Path) -> str:
    path.unlink()
    return path.name


def add(path: Path) -> str:
    path.with_name("added").write_bytes(b"")
    return "added"


def to_folder(path: Path) -> str:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()
    return f"{path.name}/inside"


def to_symlink(path: Path) -> str:
    moved = path.rename(path.parents[len(path.parts) - 3] / f"moved-{path.name}")
    path.symlink_to(moved)
    return path.name


CHANGES: list[Callable[[Path], str]] = [
    rename, append, truncate, remove, add, to_folder, to_symlink,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.bin", "b/c.bin", "b/d é.json", "b-c", "empty"])
def test_every_change_to_a_file_is_refused_by_its_name(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy, change: Callable[[Path], str], name: str
) -> None:
    root = lay_out(tmp_path / "model")
    sign(root, signer)
    expected = change(root / name)
    with pytest.raises((errors.DigestMismatch, errors.UnsafeContent), match=expected):
        verify(root, policy=policy)


def test_swapped_contents_are_refused_by_both_names(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    root = lay_out(tmp_path / "model")
    sign(root, signer)
    first, second = (root / "a.bin").read_bytes(), (root / "b-c").read_bytes()
    (root / "a.bin").write_bytes(second)
    (root / "b-c").write_bytes(first)
    error = refused(root, policy)
    assert isinstance(error, errors.DigestMismatch)
    assert error.changed == ("a.bin", "b-c")


NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in {".", "..", ".git", ".github", "model.sig"})


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=6))
def test_no_clean_round_trip_is_refused(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy, files: dict[str, bytes]
) -> None:
    root = tmp_path / "clean"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    written: dict[str, bytes] = {}
    for name, data in files.items():
        if len(name.encode()) <= 200 and name not in {".gitignore", ".gitattributes"}:
            (root / name).write_bytes(data)
            written[name] = data
    if not written:
        return
    bundle = sign(root, signer, include_secrets=True)  # drawn bytes can be a key store's first
    verified = verify(root, policy=policy)
    assert {entry.name for entry in verified.manifest} == set(written)
    assert Bundle.from_bytes(bundle.to_bytes()).to_bytes() == bundle.to_bytes()


def test_a_bundle_for_another_model_is_refused(
    tmp_path: Path, signer: KeySigner, policy: TrustPolicy
) -> None:
    mine, other = lay_out(tmp_path / "mine"), tmp_path / "other"
    other.mkdir()
    (other / "a.bin").write_bytes(b"other")
    sign(other, signer)
    sign(mine, signer)
    bundle: Any = other / "model.sig"
    with pytest.raises(errors.DigestMismatch) as caught:
        verify(mine, bundle, policy=policy)
    assert caught.value.changed == ("a.bin",)
    assert "b/c.bin" in caught.value.added
