"""Code of a training run, as its repository describes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlsecops.provenance.environment import code_descriptor, code_folder


@pytest.mark.parametrize(
    ("remote", "public"),
    [
        (
            "https://ann:secret@git.example.org:8443/x.git?t=secret",
            "https://git.example.org:8443/x.git",
        ),
        ("secret@git.example.org:x.git", "git.example.org:x.git"),
        ("https://ann:sec/ret@git.example.org/x.git", None),
        ("https://ann:sec#ret@git.example.org/x.git", None),
        ("https://ann:secret@git.example.org:port/x.git", None),
        ("https://ann:secret@[git/x.git", None),
    ],
)
def test_a_password_in_a_remote_of_any_form_is_not_recorded(
    tmp_path: Path, remote: str, public: str | None
) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    for words in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
        ["remote", "add", "origin", remote],
    ):
        subprocess.run([*git, *words], check=True)
    described = code_descriptor(tmp_path)
    commit = described["digest"]["gitCommit"]
    assert described.get("uri") == (None if public is None else f"git+{public}@{commit}")
    assert "sec" not in json.dumps(described)


def test_code_is_that_of_the_current_repository_or_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(there / "train.py"), raising=False)
    assert code_folder() == there
    subprocess.run(["git", "init", "-q"], check=True)
    assert code_folder() == here
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    assert code_folder() == here
