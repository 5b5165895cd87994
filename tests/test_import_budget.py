"""Modules that an import brings along in a fresh interpreter (times: `benchmarks imports`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlsecops
from tests.test_public_face import FACES

FRAMEWORKS = (
    *("torch", "tensorflow", "keras", "jax", "sklearn", "scipy", "pandas", "polars", "pyarrow"),
    *("h5py", "onnx", "onnxruntime", "safetensors", "httpx", "redis", "boto3", "mlflow", "art"),
)
HEAVY = ("numpy", "cryptography", "opentelemetry", *FRAMEWORKS)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mlsecops.__file__).parents[1])}


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
    )


@pytest.mark.parametrize("face", FACES)
def test_importing_a_face_brings_nothing_heavy(face: str) -> None:
    script = f"import sys, {face}; print([n for n in {HEAVY!r} if n in sys.modules])"
    assert python("-c", script).stdout == "[]\n"


@pytest.mark.parametrize("face", FACES)
def test_using_every_name_of_a_face_brings_no_framework(face: str) -> None:
    script = (
        f"import sys; from {face} import *; print([n for n in {FRAMEWORKS!r} if n in sys.modules])"
    )
    assert python("-c", script).stdout == "[]\n"


def test_the_command_s_help_imports_no_room_of_the_library() -> None:
    script = "import sys; from mlsecops.cli import main; main(['--help'])"
    log = python("-X", "importtime", "-c", script).stderr
    rooms = set(re.findall(r"\|\s+(mlsecops\.[\w.]+)", log))
    assert rooms == {
        "mlsecops._lazy",
        "mlsecops._repr",
        "mlsecops.cli",
        "mlsecops.cli.advice",
        "mlsecops.cli.main",
        "mlsecops.cli.terminal",
        "mlsecops.errors",
    }
