"""Run benchmarks and print one table of ratios: ``python -m benchmarks [name …]``.

With ``--results FILE`` each runs in a process of its own, and what it printed is written there as
Markdown, one section after the other; a benchmark that fails or lasts too long says so.

A benchmark is a module of this folder with ``comparisons()`` or ``main()``; the others help them.
Comparisons share one table; what measures something else (detection rates, memory) prints its own.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import IO

from benchmarks.measure import Comparison, table

HOME = Path(__file__).parent
STARTS = {"comparisons", "main"}
COMPARED = ("numpy", "torch", "tensorflow-cpu", "scikit-learn", "cryptography", "model-signing",
            "adversarial-robustness-toolbox", "opentelemetry-sdk")  # fmt: skip
"""Distributions whose versions belong to the results."""


def names(home: Path = HOME) -> list[str]:
    """Every benchmark there is: read, not imported, since some import a framework."""
    return sorted(
        path.stem for path in home.glob("*.py") if path.stem != "__main__" and _runs(path)
    )


def _runs(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(each, ast.FunctionDef) and each.name in STARTS for each in body)


def machine() -> str:
    """What the figures were measured on; nothing that names the machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {pages / 2**30:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    )


def run(chosen: list[str]) -> tuple[list[Comparison], list[str]]:
    """Run benchmarks; those with a report of their own print it at once.

    Returns:
        The comparisons, and why benchmarks gave up (a data set that is not installed, say).
    """
    found: list[Comparison] = []
    gave_up: list[str] = []
    for name in chosen:
        print(f"… {name}", file=sys.stderr, flush=True)
        try:
            found.extend(_one(name))
        except SystemExit as end:
            gave_up += [f"{name}: {end}"] if end.code else []
    return found, gave_up


def _one(name: str) -> list[Comparison]:
    module = import_module(f"benchmarks.{name}")
    if hasattr(module, "comparisons"):
        return list(module.comparisons())
    print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}\n", flush=True)
    sys.argv = [name]  # it parses options of its own
    module.main()
    return []


def section(name: str, limit: float) -> tuple[str, bool]:
    """Markdown section of one benchmark, run in a process of its own, and whether it succeeded."""
    began = time.monotonic()
    output, failed = _captured([sys.executable, "-m", "benchmarks", name], limit)
    minutes = (time.monotonic() - began) / 60
    about = (ast.get_docstring(ast.parse((HOME / f"{name}.py").read_text("utf-8"))) or "").split(
        "\n"
    )
    parts = [f"## {name}", about[0], f"`python -m benchmarks {name}`, {minutes:.1f} minutes."]
    if failed:
        reason = [line for line in failed.splitlines() if line.strip()][-1:]
        parts.append(f"**Not reached:** {' '.join(reason)}")
    if output.strip():
        parts.append(f"```text\n{output.strip()}\n```")
    return "\n\n".join(parts) + "\n", not failed


def _captured(words: list[str], limit: float) -> tuple[str, str]:
    """What a command printed within a time in seconds, and why it failed; its children end too."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # what was printed when the time is over
    with (
        tempfile.TemporaryFile() as printed,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            words, stdout=printed, stderr=errors, env=environment, start_new_session=True
        ) as started,
    ):
        try:
            status = started.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(started.pid, signal.SIGKILL)
        output, said = (_text(each) for each in (printed, errors))
    if status is None:
        return output, f"not finished after {limit / 60:g} minutes"
    return output, (said.strip() or f"it ended with {status}") if status else ""


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")


def write_results(chosen: list[str], place: Path, limit: float) -> int:
    """Write the results of benchmarks, each as soon as it is there."""
    head = f"# Results\n\n{machine()}\n\n{versions()}\n"
    place.write_text(head, "utf-8")
    failed = 0
    for name in chosen:
        print(f"… {name}", file=sys.stderr, flush=True)
        text, succeeded = section(name, limit)
        failed += not succeeded
        with place.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{text}")
    print(f"{place}: {len(chosen)} benchmarks, {failed} not reached")
    return int(failed > 0)


def versions() -> str:
    """Versions of this library and of what it is measured with."""
    found = []
    for name in ("mlsecops-sdk", *COMPARED):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def main() -> int:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(names()))
    parser.add_argument("--results", type=Path, metavar="FILE", help="Markdown file to write")
    parser.add_argument("--minutes", type=float, default=30, help="limit of each; default 30")
    options = parser.parse_args()
    chosen = options.names or names()
    if unknown := sorted(set(chosen) - set(names())):
        parser.error(f"no benchmark named {', '.join(unknown)}: expected {', '.join(names())}")
    if options.results is not None:
        return write_results(chosen, options.results, 60 * options.minutes)
    found, gave_up = run(chosen)
    print(f"\n{machine()}")
    if found:
        print("ratio = our median / the peer's median; below 1 we are faster\n")
        print(table(found))
    for reason in gave_up:
        print(reason, file=sys.stderr)
    return int(bool(gave_up))


if __name__ == "__main__":
    raise SystemExit(main())
