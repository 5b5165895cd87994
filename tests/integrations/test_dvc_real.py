"""The real DVC, in an environment of its own: flows of its tutorials, honest and attacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.errors import DigestMismatch, UnsafeContent, UsageError
from mlsecops.integrations.dvc import outputs, sign_outputs, verify_outputs
from mlsecops.signing import Signer, TrustPolicy

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / ".env-dvc" / "bin" / "dvc"
PARAMS = "work: prepared\nsets:\n  - first\n  - second\ntrain:\n  seed: 7\n"
PIPELINE = """vars:
  - folder: models
stages:
  prepare:
    cmd: python -c "open('rows.csv','w').write('1,0\\\\n'*3)"
    wdir: ${work}
    outs: [rows.csv]
  train:
    foreach: ${sets}
    do:
      cmd: python -c "open('${item}.bin','w').write('${item} ${train.seed}')"
      wdir: ${folder}
      deps: [../prepared/rows.csv]
      params: [{../params.yaml: [train.seed]}]
      outs: ["${item}.bin"]
  score:
    matrix:
      set: ${sets}
      size: [1, 2]
    cmd: python -c "open('${item.set}-${item.size}.json','w').write('{}')"
    wdir: scores
    outs: ["${item.set}-${item.size}.json"]
"""
NAMES = (
    "data/data.xml", "images", "imported.csv", "models/first.bin", "models/second.bin",
    "prepared/rows.csv", "scores/first-1.json", "scores/first-2.json", "scores/second-1.json",
    "scores/second-2.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Iterator[Callable[..., str]]:
    """Runs git or dvc in a folder, with settings and caches of its own."""
    if not PROGRAM.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("make benchmarks/.env-dvc/.made")
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ, "HOME": str(home), "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home),
        "XDG_CONFIG_HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip

    def call(folder: Path, *words: str) -> str:
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    for key, value in {"user.email": "a@example.com", "user.name": "a"}.items():
        call(home, "git", "config", "--global", key, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home))
        yield call


@pytest.fixture(scope="module")
def origin(run: Callable[..., str], tmp_path_factory: Any) -> Path:
    """A repository as the tutorials make it: data, pipeline, import, remote; all but signed."""
    place = tmp_path_factory.mktemp("dvc")
    library, root = place / "library", place / "origin"
    for folder in (library, root):
        folder.mkdir()
        run(folder, "git", "init", "-q")
        run(folder, "dvc", "init", "-q")
    (library / "data.csv").write_text("1,2\n")
    run(library, "dvc", "add", "-q", "data.csv")
    run(library, "git", "add", "-A")
    run(library, "git", "commit", "-qm", "library")
    files = {
        "data/data.xml": "<posts/>\n" * 50, "images/a.png": "one", "images/b/c.png": "two",
        "images/.DS_Store": "finder", "images/__pycache__/x.pyc": "bytecode",
        ".dvcignore": "# noise\n.DS_Store\n__pycache__/\n*.tmp\n!keep.tmp\n",
        "images/keep.tmp": "kept", "images/b/x.tmp": "noise",
        "params.yaml": PARAMS, "dvc.yaml": PIPELINE, "prepared/.gitignore": "",
        "models/.gitignore": "", "scores/.gitignore": "",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run(root, "dvc", "remote", "add", "-q", "-d", "storage", str(place / "storage"))
    run(root, "dvc", "add", "-q", "data/data.xml", "images")
    run(
        root, "dvc", "import", "-q", "--no-download", str(library), "data.csv", "-o", "imported.csv"
    )
    run(root, "dvc", "repro", "-q")
    run(root, "dvc", "push", "-q", *PULLED)
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "data")
    return root


PULLED = ("data/data.xml.dvc", "images.dvc", "dvc.yaml")


@pytest.fixture(scope="module")
def keys(origin: Path, run: Callable[..., str]) -> TrustPolicy:
    """Who trusts the signature that is in git."""
    signer = Signer.generate()
    sign_outputs(origin, signer)
    run(origin, "git", "add", "-A")
    run(origin, "git", "commit", "-qm", "signature")
    return TrustPolicy(keys=[signer.public_key])


@pytest.fixture
def clone(origin: Path, keys: TrustPolicy, run: Callable[..., str], tmp_path: Path) -> Path:
    """Somebody else's clone of the signed repository, before `dvc pull`."""
    assert keys.keys
    run(tmp_path, "git", "clone", "-q", str(origin), "clone")
    return tmp_path / "clone"


@pytest.fixture(scope="module")
def pulled(origin: Path, keys: TrustPolicy, run: Callable[..., str], tmp_path_factory: Any) -> Path:
    """A clone after `dvc pull`, from which each attack gets a copy."""
    assert keys.keys
    place: Path = tmp_path_factory.mktemp("pulled")
    run(place, "git", "clone", "-q", str(origin), "clone")
    run(place / "clone", "dvc", "pull", "-q", *PULLED)
    return place / "clone"


@pytest.fixture
def copy(pulled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pulled, tmp_path / "copy", symlinks=True))


def asked(root: Path) -> tuple[str, ...]:
    """The outputs as DVC's own API lists them."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from mlsecops.integrations.dvc import outputs\n"
        "import dvc.repo\nprint('\\n'.join(outputs(sys.argv[1])))\nassert 'dvc.repo' in sys.modules"
    )
    words = [str(PROGRAM.with_name("python")), "-c", code, str(root), str(ROOT)]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return tuple(done.stdout.split())


def test_dvcs_own_api_and_the_plain_reader_list_the_same_outputs(origin: Path) -> None:
    assert sys.prefix != str(PROGRAM.parents[1])
    assert outputs(origin) == NAMES
    assert asked(origin) == NAMES


def test_a_pull_in_a_clone_verifies_without_what_dvcignore_hides(
    copy: Path, keys: TrustPolicy
) -> None:
    assert not (copy / "images/.DS_Store").exists()
    (copy / "images/b/x.tmp").write_text("noise of this machine")
    verified = verify_outputs(copy, policy=keys, name="origin")
    names = [entry.name for entry in verified.manifest]
    assert names == ["data/data.xml", "images/a.png", "images/b/c.png", "images/keep.tmp",
                     *NAMES[3:]]  # fmt: skip
    assert verified.ignored == ("images/b/x.tmp", "imported.csv (never downloaded)")


@pytest.mark.parametrize(
    ("attack", "where"),
    [
        (lambda root: (root / "data/data.xml").write_text("<evil/>"), "data/data.xml"),
        (lambda root: (root / "images/evil.png").write_text("new"), "images/evil.png"),
        (lambda root: (root / "models/first.bin").write_text("evil"), "models/first.bin"),
        (lambda root: (root / "images.dvc").unlink(), "images/a.png"),
        (lambda root: (root / "imported.csv").write_text("unsigned"), "imported.csv"),
        (lambda root: [(root / "images/evil.py").write_text("hidden"),
                       (root / ".dvcignore").open("a").write("evil.py\n")], ".dvcignore"),
        (lambda root: (root / "images/b/.dvcignore").write_text("c.png\n"), "images/b/.dvcignore"),
    ],
    ids=["data", "added", "model", "pointer", "import", "ignore rules", "nested rules"],
)  # fmt: skip
def test_what_was_tampered_with_after_a_pull_is_named(
    copy: Path, keys: TrustPolicy, attack: Any, where: str
) -> None:
    attack(copy)
    with pytest.raises(DigestMismatch) as caught:
        verify_outputs(copy, policy=keys, name="origin")
    error = caught.value
    assert where in {*error.added, *error.removed, *error.changed}
    assert where in str(error)


def test_an_edited_cache_that_dvc_restores_is_named(
    copy: Path, keys: TrustPolicy, run: Callable[..., str]
) -> None:
    [cached] = [
        path
        for path in (copy / ".dvc/cache/files/md5").rglob("*")
        if path.is_file() and path.read_bytes().startswith(b"<posts/>")
    ]
    cached.chmod(0o644)
    cached.write_text("<evil/>\n")
    (copy / "data/data.xml").unlink()
    run(copy, "dvc", "checkout", "-q", "data/data.xml.dvc")
    with pytest.raises((DigestMismatch, UsageError), match=r"data/data\.xml"):
        verify_outputs(copy, policy=keys, name="origin")


def test_a_partial_pull_verifies_its_targets(
    clone: Path, keys: TrustPolicy, run: Callable[..., str]
) -> None:
    run(clone, "dvc", "pull", "-q", "images.dvc", "train@first")
    with pytest.raises(UsageError, match="targets"):
        verify_outputs(clone, policy=keys, name="origin")
    for target, count in {"images.dvc": 3, "images": 3, "images/b": 1, "images/a.png": 1,
                          "train@first": 1, "models/first.bin": 1}.items():  # fmt: skip
        verified = verify_outputs(clone, policy=keys, name="origin", targets=[target])
        assert len(verified.manifest) == count, target
    with pytest.raises(UsageError, match="nowhere"):
        verify_outputs(clone, policy=keys, name="origin", targets=["nowhere"])
    (clone / "images/a.png").write_text("edited")
    assert verify_outputs(clone, policy=keys, name="origin", targets=["images/b"])
    with pytest.raises(DigestMismatch, match=r"images/a\.png"):
        verify_outputs(clone, policy=keys, name="origin", targets=["images"])
    (clone / "images.dvc").unlink()
    with pytest.raises(DigestMismatch, match=r"removed 'images/a\.png'"):
        verify_outputs(clone, policy=keys, name="origin", targets=["images"])


def test_a_cache_of_symlinks_verifies_and_other_links_are_refused(
    clone: Path, keys: TrustPolicy, run: Callable[..., str], tmp_path: Path
) -> None:
    run(clone, "dvc", "config", "cache.type", "symlink")
    run(clone, "dvc", "config", "--local", "cache.dir", str(tmp_path / "shared"))
    run(clone, "dvc", "pull", "-q", *PULLED)
    assert (clone / "images/a.png").is_symlink()
    assert (clone / "models/first.bin").is_symlink()
    assert len(verify_outputs(clone, policy=keys, name="origin").manifest) == 11
    cached = (clone / "images/a.png").resolve()
    cached.chmod(0o644)
    cached.write_text("0ne")
    with pytest.raises(DigestMismatch, match=r"changed 'images/a\.png'"):
        verify_outputs(clone, policy=keys, name="origin")
    shutil.copy(cached, tmp_path / "elsewhere")
    for name in ("images/a.png", "models/first.bin"):
        (clone / name).unlink()
        (clone / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UnsafeContent, match=name):
            verify_outputs(clone, policy=keys, name="origin", targets=[name])


def test_a_new_version_is_signed_again_and_the_old_one_still_verifies(
    copy: Path, keys: TrustPolicy, run: Callable[..., str]
) -> None:
    clone = copy
    with (clone / "data/data.xml").open("a") as stream:
        stream.write("<posts/>\n" * 50)
    run(clone, "dvc", "add", "-q", "data/data.xml")
    with pytest.raises(DigestMismatch, match=r"data/data\.xml"):
        verify_outputs(clone, policy=keys, name="origin")
    signer = Signer.generate()
    sign_outputs(clone, signer, replace=True)
    verify_outputs(clone, policy=TrustPolicy(keys=[signer.public_key]))
    run(clone, "git", "commit", "-qam", "more data")
    run(clone, "git", "checkout", "-q", "HEAD~1")
    run(clone, "dvc", "checkout", "-q", *PULLED)
    verify_outputs(clone, policy=keys, name="origin")
