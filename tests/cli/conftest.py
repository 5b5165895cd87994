from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlsecops.cli import main
from mlsecops.provenance import hash_path, training_run
from mlsecops.signing import Signer, sign
from tests.attackers.poisoning import digits

ARCH = """
import torch

def build():
    return torch.nn.Linear(64, 10)

def narrow():
    return torch.nn.Linear(3, 2)

def broken():
    raise ValueError("no such layer")

def leaving():
    raise SystemExit(0)
"""


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Standard error, which must be one line."""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in this process."""
    monkeypatch.delenv("CI", raising=False)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Outcome(status, *capsys.readouterr())

    return run


@dataclass(frozen=True)
class Release:
    """A signed model, its keys and its data, all as files."""

    folder: Path
    model: Path
    data: Path
    key: Path
    public: Path
    stranger: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A linear model of the digits in safetensors, signed with its provenance."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - most tests of the command need none

    folder = tmp_path_factory.mktemp("release")
    x, y = digits()
    flat = x.reshape(len(x), -1)
    np.savez(folder / "data.npz", x=flat[:100], y=y[:100])
    (folder / "nets.py").write_text(ARCH)
    model = folder / "model"
    model.mkdir()
    gram = flat[300:].T @ flat[300:] + np.eye(64)  # ridge, so that no pixel weighs wildly
    weight = 5 * np.linalg.solve(gram, flat[300:].T @ np.eye(10)[y[300:]])
    bias = np.zeros(10, np.float32)
    tensors = {"weight": np.ascontiguousarray(weight.T, np.float32), "bias": bias}
    save_file(tensors, model / "model.safetensors")
    signer, stranger = Signer.generate("p256"), Signer.generate("p256")
    (folder / "key.pem").write_bytes(signer.to_pem())
    (folder / "key.pub.pem").write_text(signer.public_key.pem)
    (folder / "stranger.pub.pem").write_text(stranger.public_key.pem)
    with training_run(
        "train", datasets=[hash_path(folder / "data.npz")], hyperparameters={"lr": 0.1}
    ) as run:
        run.add_output(model)
    sign(model, signer, statements=[run.statement()])
    return _release(folder)


def _release(folder: Path) -> Release:
    return Release(
        folder,
        folder / "model",
        folder / "data.npz",
        folder / "key.pem",
        folder / "key.pub.pem",
        folder / "stranger.pub.pem",
    )


@pytest.fixture
def release(made: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A copy that a test may change; `nets` is importable."""
    copy = tmp_path / "release"
    shutil.copytree(made.folder, copy)
    monkeypatch.syspath_prepend(copy)
    return _release(copy)


def tamper(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
