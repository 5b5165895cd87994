"""Speed of the command `scan` on a folder of 5,000 files, beside picklescan's command.

Two folders: small pickles alone, and what a hub folder has (a third each of pickles, JSON and
text). Commands run in turns; the time to the first line that is printed is taken too.

Run: ``python -m benchmarks scan_speed`` after ``make peers``
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

FILES: Final = 5000
ROUNDS: Final = 5
PEER: Final = Path(__file__).parent / ".env-picklescan" / "bin" / "picklescan"
OURS: Final = Path(sys.executable).parent / "mlsecops"


def small(number: int) -> dict[str, object]:
    """Content of a small file."""
    return {"number": number, "values": list(range(5)), "text": "a setting " * 5}


def folders(place: Path) -> dict[str, Path]:
    """The folders to scan."""
    made = {"5,000 pickles": place / "pickles", "5,000 mixed files": place / "mixed"}
    for name, folder in made.items():
        folder.mkdir()
        for number in range(FILES):
            kind = number % 3 if "mixed" in name else 0
            path = folder / f"{number:04d}{('.pkl', '.json', '.txt')[kind]}"
            if kind == 0:
                path.write_bytes(pickle.dumps(small(number)))
            else:
                path.write_text(json.dumps(small(number)))
    return made


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds to the first line, in all, and of CPU time of a command."""
    start, before = time.perf_counter(), os.times()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        stream = process.stdout or sys.exit("no output was opened")
        stream.readline()
        first = time.perf_counter() - start
        stream.read()
    after = os.times()
    used = after.children_user + after.children_system
    return (
        first,
        time.perf_counter() - start,
        used - before.children_user - before.children_system,
    )


def main() -> None:
    """Print medians and ratios; exit with a message where picklescan is not installed."""
    if not PEER.exists():
        raise SystemExit("picklescan is not installed: run 'make peers' first")
    heads = ("first line s", "wall s", "CPU s", "their wall", "their CPU", "wall ratio", "CPU")
    print(f"{'':18}" + "".join(f"{head:>13}" for head in heads))
    with tempfile.TemporaryDirectory() as place:
        for name, folder in folders(Path(place)).items():
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(run([str(OURS), "scan", str(folder)]))
                theirs.append(run([str(PEER), "--path", str(folder)]))
            first, wall, cpu = (statistics.median(each) for each in zip(*ours, strict=True))
            _, their_wall, their_cpu = (
                statistics.median(each) for each in zip(*theirs, strict=True)
            )
            row = (first, wall, cpu, their_wall, their_cpu, wall / their_wall, cpu / their_cpu)
            print(f"{name:18}" + "".join(f"{each:13.2f}" for each in row), flush=True)


if __name__ == "__main__":
    main()
