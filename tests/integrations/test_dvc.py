"""Repositories as DVC 3 leaves them: pointer files with MD5, a lock file, edited outputs."""

from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import (
    DigestMismatch,
    FormatRefused,
    SignatureMissing,
    UnsafeContent,
    UntrustedSigner,
    UsageError,
)
from mlsecops.integrations.dvc import outputs, outputs_manifest, sign_outputs, verify_outputs
from mlsecops.signing import Signer, TrustPolicy

pytest.importorskip("yaml")

FILE = """outs:
- md5: 5d41402abc4b2a76b9719d911017c592
  size: 5
  hash: md5
  path: hello.txt
"""
FOLDER = """outs:
- md5: 6d2a5e9b2cc8d4a3b1e3f8a4b1f7c5aa.dir
  size: 10
  nfiles: 2
  hash: md5
  path: images
wdir: ..
"""
LOCK = """schema: '2.0'
stages:
  train:
    cmd: python train.py
    deps:
    - path: hello.txt
      hash: md5
      md5: 5d41402abc4b2a76b9719d911017c592
      size: 5
    outs:
    - path: model.bin
      hash: md5
      md5: 9f9d51bc70ef21ca5c14f307980a29d8
      size: 3
  score@a:
    cmd: python score.py
    outs:
    - path: scores.json
      hash: md5
      md5: 99914b932bd37a50b983c5e7c90ae93b
      size: 2
"""
PIPELINE = """stages:
  train:
    cmd: python train.py
    wdir: work
  score:
    foreach: [a]
    do:
      cmd: python score.py
      wdir: work/scores
"""
FILES = {
    "hello.txt": "hello", "hello.txt.dvc": FILE, "images/a.png": "one", "images/b/c.png": "two",
    "pointers/images.dvc": FOLDER, "dvc.lock": LOCK, "dvc.yaml": PIPELINE, "work/model.bin": "bin",
    "work/scores/scores.json": "{}", ".dvc/config": "", ".dvc/tmp/x.dvc": "nonsense: [",
}  # fmt: skip
NAMES = ("hello.txt", "images", "work/model.bin", "work/scores/scores.json")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        place = tmp_path / "repository" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path / "repository"


def test_outputs_are_those_of_pointer_files_and_of_the_lock(repository: Path) -> None:
    assert outputs(repository) == NAMES
    names = [entry.name for entry in outputs_manifest(repository)]
    assert names == ["hello.txt", "images/a.png", "images/b/c.png", *NAMES[2:]]


def test_signed_outputs_verify(repository: Path, signer: Signer, policy: TrustPolicy) -> None:
    sign_outputs(repository, signer)
    assert len(verify_outputs(repository, policy=policy).manifest) == 5


@pytest.mark.parametrize(
    ("attack", "where"),
    [
        (lambda root: (root / "images/a.png").write_text("0ne"), "images/a.png"),
        (lambda root: (root / "images/d.png").write_text("new"), "images/d.png"),
        (lambda root: (root / "images/b/c.png").unlink(), "images/b/c.png"),
        (lambda root: (root / "hello.txt.dvc").unlink(), "hello.txt"),
        (lambda root: (root / "dvc.yaml.dvc").write_text(FILE.replace("hello.txt", "dvc.yaml")),
         "dvc.yaml"),
    ],
    ids=["edited", "added", "removed", "pointer removed", "pointer added"],
)  # fmt: skip
def test_what_was_not_signed_is_named(
    repository: Path, signer: Signer, policy: TrustPolicy, attack: Any, where: str
) -> None:
    sign_outputs(repository, signer)
    attack(repository)
    with pytest.raises(DigestMismatch) as caught:
        verify_outputs(repository, policy=policy)
    mismatch = caught.value
    assert where in {*mismatch.added, *mismatch.removed, *mismatch.changed}


def test_an_output_that_was_not_pulled_says_so(
    repository: Path, signer: Signer, policy: TrustPolicy
) -> None:
    sign_outputs(repository, signer)
    (repository / "work/model.bin").unlink()
    with pytest.raises(UsageError, match="dvc pull"):
        verify_outputs(repository, policy=policy)


def test_a_stranger_or_nobody_vouches_for_nothing(repository: Path, policy: TrustPolicy) -> None:
    with pytest.raises(SignatureMissing):
        verify_outputs(repository, policy=policy)
    sign_outputs(repository, Signer.generate("p256"))
    with pytest.raises(UntrustedSigner):
        verify_outputs(repository, policy=policy)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../outside"])
def test_an_output_outside_the_repository_is_refused(repository: Path, path: str) -> None:
    (repository / "x.dvc").write_text(f"outs:\n- path: {path}\n")
    with pytest.raises(UnsafeContent):
        outputs(repository)


def test_a_link_in_an_output_is_refused(repository: Path) -> None:
    (repository / "images/link").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeContent):
        outputs_manifest(repository)


@pytest.mark.parametrize(
    "text",
    ["- 1", "outs: 3", "outs: [3]", "outs:\n- md5: x", "outs: [", "!!python/object:os.x {}", "",
     "outs:\n- path: 7"],
)  # fmt: skip
def test_a_pointer_file_of_nonsense_is_refused(repository: Path, text: str) -> None:
    (repository / "x.dvc").write_text(text)
    with pytest.raises(FormatRefused):
        outputs(repository)


def test_a_repository_without_outputs_is_wrong_use(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(UsageError):
        sign_outputs(tmp_path, signer)
    with pytest.raises(UsageError):
        outputs(tmp_path / "nowhere")
