"""Run benchmarks and print one table of ratios: ``python -m benchmarks [name …]``.

A benchmark is a module of this folder with ``comparisons()`` or ``main()``; the others help them.
Comparisons share one table; what measures something else (detection rates, memory) prints its own.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Comparison, table

HOME = Path(__file__).parent
STARTS = {"comparisons", "main"}


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


def main() -> int:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(names()))
    chosen = parser.parse_args().names or names()
    if unknown := sorted(set(chosen) - set(names())):
        parser.error(f"no benchmark named {', '.join(unknown)}: expected {', '.join(names())}")
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
