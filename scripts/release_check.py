"""Release check: the built wheel and sdist, installed and used in clean environments.

`python scripts/release_check.py dist/` finds every `python3.N` (N >= 11) on the path, installs each
distribution without extras into a fresh environment, and runs a smoke test there. The exit status
is 1 if any fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[1]
OLDEST, NEWEST = 11, 20  # minor versions of Python 3 that are looked for

SMOKE = """
import pathlib, subprocess, sys
import mlsecops
from mlsecops import DigestMismatch, Signer, TrustPolicy, hash_path, sign, verify

assert set(dir(mlsecops)) >= {"SecureLoader", "sign", "verify"}
model = pathlib.Path("model"); model.mkdir()
(model / "weights.bin").write_bytes(bytes(1000))
signer = Signer.generate("p256")
sign(model, signer)
policy = TrustPolicy(keys=[signer.public_key])
assert verify(model, policy=policy).digest == hash_path(model).root
(model / "weights.bin").write_bytes(bytes(999) + b"x")
try:
    verify(model, policy=policy)
except DigestMismatch as error:
    assert error.changed == ("weights.bin",), error.changed
else:
    sys.exit("a tampered file was verified")
from mlsecops.cli.main import COMMANDS
for words in (["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)):
    subprocess.run([sys.executable, "-m", "mlsecops", *words], check=True, capture_output=True)
print(f"{len(COMMANDS)} commands answered")
"""


def starts(python: str) -> bool:
    """Whether an interpreter runs and can make environments (a shim may do neither)."""
    command = [python, "-m", "venv", "--help"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def pythons() -> list[str]:
    """Interpreters that start, oldest first: those on the path, and pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = {}
    for minor in range(OLDEST, NEWEST):
        name = f"python3.{minor}"
        for each in (which(name), *sorted(map(str, pyenv.glob(f"3.{minor}.*/bin/{name}")))):
            if each and starts(each):
                found.setdefault(name, each)
    return list(found.values()) or [sys.executable]


def missing_files(wheel: Path) -> list[str]:
    """Files of the package in git that the wheel lacks."""
    listed = subprocess.run(
        ["git", "ls-files", "mlsecops"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        return sorted(set(listed) - set(archive.namelist()))


def try_out(python: str, distribution: Path) -> str:
    """Install a distribution into a fresh environment and use it; gives what the smoke test prints.

    Raises:
        subprocess.CalledProcessError: A step failed; its output is on the error.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as place:
        environment = Path(place, "env")
        steps = (
            [python, "-m", "venv", str(environment)],
            [str(environment / "bin/python"), "-m", "pip", "install", "-q",
             "--disable-pip-version-check", str(distribution.resolve())],
            [str(environment / "bin/python"), "-c", SMOKE],
        )  # fmt: skip
        for step in steps:
            done = subprocess.run(step, cwd=place, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def main(folder: str = "dist") -> int:
    """Try every distribution of a folder on every Python; gives the exit status."""
    distributions = sorted(Path(folder).glob("mlsecops_sdk-*"))
    if len(distributions) < 2:  # noqa: PLR2004 - a wheel and a source distribution
        print(f"{folder}: expected a wheel and a source distribution; run: make dist")
        return 2
    failed = 0
    for wheel in (each for each in distributions if each.suffix == ".whl"):
        if missing := missing_files(wheel):
            failed += 1
            print(f"{wheel.name}: expected every file in git, missing {missing[:5]}")
    for python in pythons():
        for distribution in distributions:
            try:
                outcome = try_out(python, distribution)
            except subprocess.CalledProcessError as error:
                failed += 1
                outcome = f"FAILED: {error.cmd[-1][:60]!r}: {error.stderr[-800:]}"
            print(f"{Path(python).name} · {distribution.name}: {outcome}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
