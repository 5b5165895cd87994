"""`mlsecops run`: a script whose loading calls read verified bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlsecops.signing import Signer, sign
from tests.cli.conftest import Command

SCRIPT = """
import sys
import numpy as np

print(__name__, sys.argv[1:], np.load(sys.argv[1]).sum())
if "leave" in sys.argv:
    sys.exit(7)
if "fail" in sys.argv:
    raise KeyError("mine")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    signer = Signer.generate("p256")
    for name in ("signed.npy", "unsigned.npy"):
        np.save(tmp_path / name, np.ones(3))
    sign(tmp_path / "signed.npy", signer)
    (tmp_path / "key.pem").write_text(signer.public_key.pem)
    (tmp_path / "trust.toml").write_text('[[keys]]\npath = "key.pem"\n')
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def test_a_script_reads_verified_bytes_and_gets_its_own_options(
    command: Command, place: Path
) -> None:
    before, path = list(sys.argv), list(sys.path)
    file = str(place / "signed.npy")
    outcome = command(
        "run", "--policy", place / "trust.toml", place / "script.py", file, "--epochs", "3"
    )
    assert outcome.status == 0
    assert outcome.out == f"__main__ {[file, '--epochs', '3']} 3.0\n"
    assert (sys.argv, sys.path) == (before, path)


def test_an_unsigned_file_ends_the_script_with_1(command: Command, place: Path) -> None:
    file = place / "unsigned.npy"
    outcome = command("run", "--policy", place / "trust.toml", place / "script.py", file)
    assert outcome.status == 1
    assert "SignatureMissing" in outcome.said
    assert "unsigned.npy" in outcome.said


@pytest.mark.parametrize(("word", "status"), [("leave", 7), ("fail", 1)])
def test_the_script_s_own_status_is_the_command_s(
    command: Command, place: Path, word: str, status: int
) -> None:
    file = place / "signed.npy"
    outcome = command("run", "--policy", place / "trust.toml", place / "script.py", file, word)
    assert outcome.status == status
    if word == "fail":
        assert "KeyError: 'mine'" in outcome.err
        assert "runpy" not in outcome.err


def test_a_module_runs_by_name(place: Path) -> None:
    (place / "mine.py").write_text(SCRIPT)
    words = ["run", "--policy", "trust.toml", "--module", "mine", "unsigned.npy"]
    done = subprocess.run(
        [sys.executable, "-m", "mlsecops", *words],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("mlsecops: SignatureMissing: unsigned.npy")


def test_wrong_use_exits_2(command: Command, place: Path) -> None:
    trust = place / "trust.toml"
    assert command("run", "--policy", trust).status == 2
    assert command("run", "--policy", trust, place / "nothing.py").status == 2
    assert command("run", "--policy", place / "nothing.toml", place / "script.py").status == 2
    assert command("run", place / "script.py").status == 2
