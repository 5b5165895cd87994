"""Check of the extras: each one alone resolves, and installs and imports, on every Python there is.

`python scripts/extras_check.py` asks uv for packages of each extra that fit every platform and
every Python from the oldest on, installs each of the light ones alone into a fresh environment and
imports what it brings, and times how `all` resolves with the pip of a new environment, with a
current pip and with uv. What it installs and downloads lies in a temporary folder. The exit status
is 1 if any step fails.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from release_check import pythons  # noqa: E402 - needs the path

from mlsecops._extras import EXTRA_OF  # noqa: E402 - needs the path

HEAVY = ("torch", "tensorflow", "demo", "all", "dev")
"""Extras of over a gigabyte: resolved, and installed by `make test`, not here."""
MORE = {"dask": ["distributed"], "awskms": ["boto3"], "sagemaker": ["boto3"]}
"""Modules of extras that the SDK reaches without asking for an extra by name."""
LIMIT = 600.0  # seconds for one step; chosen: twice the slowest resolution that was seen
TORCH = "torch==2.13.0"  # as in the Makefile: asked for by a dependency, pip takes another build

IMPORT = """
import importlib, sys
import mlsecops
from mlsecops.errors import MissingExtra
for name in sys.argv[1:]:
    importlib.import_module(name)
for name in dir(mlsecops):
    try:
        getattr(mlsecops, name)
    except MissingExtra:
        pass
"""


def extras() -> dict[str, list[str]]:
    """Extra → its requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def modules(extra: str, known: Mapping[str, list[str]]) -> list[str]:
    """Modules that an extra brings, those of the extras that it names included."""
    names = [name for name, brought in EXTRA_OF.items() if brought == extra]
    named = re.findall(r"mlsecops-sdk\[([^\]]+)\]", " ".join(known[extra]))
    parts = [each for group in named for each in group.split(",")]
    return [
        *names,
        *MORE.get(extra, []),
        *(name for each in parts for name in modules(each, known)),
    ]


def ran(*words: str, limit: float = LIMIT, **variables: str) -> tuple[bool, float, str]:
    """Run a command; gives whether it held, wall seconds, and its output."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            words, check=False, cwd=ROOT, timeout=limit, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **variables},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, time.perf_counter() - start, f"no end after {limit:.0f} s"
    return done.returncode == 0, time.perf_counter() - start, done.stdout


def version(python: str) -> str:
    """The version of an interpreter, as uv writes it (`3.12`)."""
    return ran(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")[2].strip()


def resolve(uv: str, names: Iterable[str], oldest: str) -> int:
    """Resolve each extra alone for every platform and Python at once; gives how many did not."""
    failed = 0
    for extra in names:
        good, seconds, said = ran(
            uv, "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--extra", extra,
            "--python-version", oldest,
        )  # fmt: skip
        failed += not good
        found = f"{said.count('==')} packages" if good else said[-600:]
        print(f"resolved {extra} in {seconds:.1f} s: {found}", flush=True)
    return failed


def install(uv: str, names: Iterable[str], interpreters: Iterable[str], wheel: Path) -> int:
    """Install each extra alone into a fresh environment and import it; gives how many failed."""
    failed, known = 0, extras()
    interpreters = list(interpreters)
    for extra in names:
        good_ones = 0
        for python in interpreters:
            with tempfile.TemporaryDirectory(prefix="extra-") as place:
                inside = f"{place}/bin/python"
                steps = (
                    (uv, "venv", "--quiet", "--python", python, "--clear", place),
                    (uv, "pip", "install", "--quiet", "--python", inside,
                     f"mlsecops-sdk[{extra}] @ {wheel.as_uri()}"),
                    (inside, "-I", "-c", IMPORT, *modules(extra, known)),
                )  # fmt: skip
                for step in steps:
                    good, _, said = ran(*step)
                    if not good:
                        failed += 1
                        print(f"  {extra} · {Path(python).name}: {said[-600:]}", flush=True)
                        break
                else:
                    good_ones += 1
        print(f"installed {extra} on {good_ones} of {len(interpreters)} Pythons", flush=True)
    return failed


def spent() -> float:
    """Processor seconds of the commands that have ended; wall time shows the load, too."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def time_all(uv: str, interpreters: Iterable[str], folder: Path) -> int:
    """Time how `all` resolves with each installer; gives how many found nothing."""
    failed = 0
    for python in interpreters:
        place = folder / f"all-{version(python)}"
        inside = str(place / "bin/python")
        ran(python, "-m", "venv", str(place))
        ran(inside, "-m", "pip", "install", "--quiet", TORCH)  # no build of gigabytes for a dry run
        dry = (inside, "-m", "pip", "install", "--quiet", "--dry-run", ".[all]")
        for name in ("pip of the environment", "current pip"):
            if name == "current pip":
                ran(inside, "-m", "pip", "install", "--quiet", "--upgrade", "pip")
            before = spent()
            good, seconds, said = ran(*dry)
            used = spent() - before
            failed += not good
            pip = ran(inside, "-m", "pip", "--version")[2].split()[1]
            print(f"all · {version(python)} · pip {pip}: {'resolved' if good else said[-600:]} in "
                  f"{seconds:.0f} s, {used:.0f} s of processor", flush=True)  # fmt: skip
        before = spent()
        good, seconds, said = ran(
            uv, "pip", "install", "--quiet", "--dry-run", "--python", inside, ".[all]"
        )
        failed += not good
        print(f"all · {version(python)} · uv: {'resolved' if good else said[-600:]} in "
              f"{seconds:.0f} s, {spent() - before:.0f} s of processor", flush=True)  # fmt: skip
    return failed


def main() -> int:
    """Check every extra, or those that are named; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("extra", nargs="*", help="extras to check; default each")
    parser.add_argument("--part", choices=("resolve", "install", "all"), help="default each part")
    options = parser.parse_args()
    names = options.extra or list(extras())
    interpreters = pythons()
    with tempfile.TemporaryDirectory(prefix="extras-") as place:
        tools = f"{place}/tools/bin"
        for step in (
            (sys.executable, "-m", "venv", f"{place}/tools"),
            (f"{tools}/python", "-m", "pip", "install", "--quiet", "uv", "build", "hatchling"),
            (f"{tools}/python", "-m", "build", "--wheel", "--no-isolation", "--outdir", place),
        ):
            good, _, said = ran(*step)
            if not good:
                print(f"{step[-1]}: {said[-800:]}")
                return 2
        os.environ["UV_CACHE_DIR"] = f"{place}/cache"
        uv, [wheel] = f"{tools}/uv", Path(place).glob("*.whl")
        failed = 0
        if options.part in {None, "resolve"}:
            failed += resolve(uv, names, version(interpreters[0]))
        if options.part in {None, "install"}:
            light = (each for each in names if each not in HEAVY)
            failed += install(uv, light, interpreters, wheel)
        if options.part in {None, "all"} and "all" in names:
            failed += time_all(uv, interpreters, Path(place))
    print(f"{len(names)} extras on {len(interpreters)} Pythons: {failed} steps failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
