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


MANY = (
    "vars: [{a: [0,1,2,3,4,5,6,7,8,9]}]\nstages: {prep: {matrix: {a: '${a}', b: '${a}', c: '${a}', "
    "d: '${a}', e: '${a}', f: '${a}'}, wdir: x}}"
)


def templated(root: Path, pipeline: str, *, stage: str = "prep", params: str = "") -> Path:
    """A repository whose stage has a templated working folder, train/."""
    (root / "train").mkdir(exist_ok=True)
    (root / "train" / "out.csv").write_text("1\n")
    (root / "dvc.yaml").write_text(pipeline)
    if params:
        (root / "params.yaml").write_text(params)
    (root / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  {stage}:\n    cmd: make\n    outs:\n    - path: out.csv\n"
        "      hash: md5\n      md5: 0123456789abcdef0123456789abcdef\n"
    )
    return root


@pytest.mark.parametrize(
    ("pipeline", "stage", "params"),
    [
        ("vars: [{work: train}]\nstages: {prep: {cmd: x, wdir: '${work}'}}", "prep", ""),
        ("stages: {prep: {cmd: x, wdir: '${dirs[1].name}'}}", "prep",
         "dirs: [{name: a}, {name: train}]"),
        ("vars: [{a: {b: tr}}, params.yaml:a]\nstages: {prep: {wdir: '${a.b}${a.c}'}}", "prep",
         "a: {c: ain}"),
        ("stages: {prep: {foreach: [train, test], do: {cmd: x, wdir: '${item}'}}}", "prep@train",
         ""),
        ("stages: {prep: {foreach: '${sets}', do: {cmd: x, wdir: '${item.at}'}}}", "prep@one",
         "sets: {one: {at: train}}"),
        ("stages: {prep: {foreach: [{at: x}, {at: train}], do: {wdir: '${item.at}'}}}", "prep@1",
         ""),
        ("stages: {prep: {matrix: {a: [x, train], b: [true, 2]}, wdir: '${item.a}'}}",
         "prep@train-true", ""),
    ],
    ids=["vars", "params", "merged", "foreach", "mapping", "composite", "matrix"],
)  # fmt: skip
def test_a_templated_folder_is_resolved_as_dvc_does(
    tmp_path: Path, pipeline: str, stage: str, params: str
) -> None:
    assert outputs(templated(tmp_path, pipeline, stage=stage, params=params)) == ("train/out.csv",)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("stages: {prep: {wdir: '${nowhere}'}}", r"\$\{nowhere\} among vars and params"),
        ("vars: [{a: [1]}]\nstages: {prep: {wdir: '${a}'}}", "text or a number"),
        ("vars: [settings.py]\nstages: {prep: {wdir: x}}", "install dvc"),
        ("vars: 3\nstages: {prep: {wdir: x}}", "vars to be a list"),
        ("stages: {prep: {foreach: 3, do: {wdir: x}}}", "a list or a mapping"),
        ("stages: {prep: {matrix: {a: 3}, wdir: x}}", "matrix to name lists"),
        (MANY, "at most 100000 stages"),
    ],
    ids=["unknown", "no text", "python", "vars", "foreach", "matrix", "too many"],
)  # fmt: skip
def test_a_template_that_cannot_be_resolved_is_refused_as_such(
    tmp_path: Path, pipeline: str, message: str
) -> None:
    with pytest.raises(FormatRefused, match=message):
        outputs(templated(tmp_path, pipeline))


def test_what_dvcignore_hides_is_listed_and_a_rule_added_later_is_refused(
    repository: Path, signer: Signer, policy: TrustPolicy
) -> None:
    (repository / ".dvcignore").write_text("*.tmp\n!keep.tmp\n/images/b/\n")
    for name in ("a.tmp", "keep.tmp"):
        (repository / "images" / name).write_text("x")
    sign_outputs(repository, signer)
    verified = verify_outputs(repository, policy=policy)
    assert verified.ignored == ("images/a.tmp", "images/b/c.png")
    assert "images/keep.tmp" in verified.manifest
    (repository / "images" / ".dvcignore").write_text("a.png\n")
    with pytest.raises(DigestMismatch, match=r"images/\.dvcignore") as caught:
        verify_outputs(repository, policy=policy)
    assert caught.value.added == ("images/.dvcignore",)
    (repository / "images" / ".dvcignore").unlink()
    (repository / ".dvcignore").unlink()
    with pytest.raises(DigestMismatch, match=r"\.dvcignore"):
        verify_outputs(repository, policy=policy)


def test_rules_that_were_not_signed_hide_nothing(
    repository: Path, signer: Signer, policy: TrustPolicy
) -> None:
    sign_outputs(repository, signer)
    (repository / ".dvcignore").write_text("evil.py\n")
    (repository / "images" / "evil.py").write_text("print('ran')")
    with pytest.raises(DigestMismatch, match=r"added 'images/evil\.py'"):
        verify_outputs(repository, policy=policy)


def test_an_import_that_was_never_downloaded_is_listed_until_it_is_there(
    repository: Path, signer: Signer, policy: TrustPolicy
) -> None:
    (repository / "far.csv.dvc").write_text("frozen: true\nouts:\n- hash: md5\n  path: far.csv\n")
    sign_outputs(repository, signer)
    assert verify_outputs(repository, policy=policy).ignored == ("far.csv (never downloaded)",)
    (repository / "far.csv").write_text("unsigned")
    with pytest.raises(DigestMismatch, match=r"added 'far\.csv'"):
        verify_outputs(repository, policy=policy)


def test_another_repository_inside_is_left_to_itself(repository: Path) -> None:
    (repository / "inner" / ".dvc").mkdir(parents=True)
    (repository / "inner" / "x.dvc").write_text("nonsense: [")
    assert outputs(repository) == NAMES


def test_several_signers_reach_a_threshold(repository: Path, signer: Signer) -> None:
    other = Signer.generate("p384")
    sign_outputs(repository, [signer, other])
    both = TrustPolicy(keys=[signer.public_key, other.public_key], threshold=2)
    assert len(verify_outputs(repository, policy=both).signers) == 2


def test_nobodys_signature_is_lost(repository: Path, signer: Signer) -> None:
    (repository / ".dvcignore").write_text("*.tmp\n")
    other = Signer.generate("p384")
    both = TrustPolicy(keys=[signer.public_key, other.public_key], threshold=2)
    sign_outputs(repository, signer)
    sign_outputs(repository, signer)
    with pytest.raises(UsageError, match="--add"):
        sign_outputs(repository, other)
    sign_outputs(repository, other, add=True)
    assert len(verify_outputs(repository, policy=both).signers) == 2
    (repository / "hello.txt").write_text("edited")
    with pytest.raises(DigestMismatch, match=r"hello\.txt"):
        sign_outputs(repository, Signer.generate(), add=True)
    sign_outputs(repository, other, replace=True)
    assert verify_outputs(repository, policy=TrustPolicy(keys=[other.public_key]))


def test_a_repository_without_outputs_is_wrong_use(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(UsageError):
        sign_outputs(tmp_path, signer)
    with pytest.raises(UsageError):
        outputs(tmp_path / "nowhere")
