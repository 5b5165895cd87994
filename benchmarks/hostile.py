"""Hostile inputs of 1 MB at every parser: worst CPU time and memory, none above 10 s and 1 GiB.

An input is an honest or hostile file of `tests.fuzzing` in which one part is repeated until the
whole is 1 MB, or a beginning that opens something again and again. Each is read in a process of its
own that the kernel ends at the ceilings.

Run: ``python -m benchmarks.hostile [--each 12] [NAME …]``
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import fuzzing

SIZE: Final = 1_000_000  # bytes; the "1 MB or less"
SECONDS: Final = 10  # CPU seconds an input may take
MEMORY: Final = 1 << 30  # bytes on top of what the process had mapped
PARTS: Final = (1, 2, 4, 7, 16, 40, 90, 200, 1000)  # bytes of a repeated part; chosen
OPENERS: Final = (
    b"[", b"{", b"(", b"<a>", b'{"a":', b"- ", b"? ", b"&a [*a,", b"!!", b"[[a]]\n", b"[a.b.c]\n",
    b"a.", b'"', b"'", b"\\", b"{{", b"{%if a%}", b"{#", b"/*", b"0", b"1e", b"9", b"\n", b" ",
    b"\t", b"\0", b"\xff", b"\x80", b"(lp0\n", b"]", b"}", b"\x94", b"2", b"h\0", b"cos\nsystem\n",
    b"*a", b"**/", b"![](", b"\xcc\x81",
)  # fmt: skip
"""Beginnings of nested, quoted, named or repeated things in the formats that are read."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one input took, and how its process ended (0: it answered)."""

    seconds: float
    mib: float
    ended: int


def stretched(honest: list[bytes], number: int) -> bytes:
    """An input of `SIZE` bytes, determined by one number."""
    chance = random.Random(number)  # noqa: S311 - nothing secret
    if chance.random() < 0.25:
        head = chance.choice((b"", b"", chance.choice(honest)[: chance.choice(PARTS)]))
        opener = chance.choice(OPENERS)
        return (head + opener * (SIZE // len(opener)))[:SIZE]
    data = chance.choice(honest)[: SIZE // 2] or b"\0"
    at = chance.randrange(len(data))
    part = data[at : at + chance.choice(PARTS)]
    times = (SIZE - len(data)) // len(part)
    return data[:at] + part * times + data[at:]


def cost(name: str, data: bytes, folder: Path) -> Cost:
    """Read one input in a fork."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
            fuzzing.require_answer(name, data, folder)
            status = 0
        finally:
            os._exit(status)
    _, ended, used = os.wait4(pid, 0)
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, ended)


def costs(name: str, honest: list[bytes], folder: Path, each: int) -> Iterator[tuple[int, Cost]]:
    """What `each` inputs of one parser took, by number; those that fail are kept."""
    for number in range(each):
        data = stretched(honest, number)
        found = cost(name, data, folder)
        if found.ended:
            fuzzing.keep(name, folder)
        yield number, found


def main() -> None:
    """Print a row for each parser; exit with a message where an input was not answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=12, help="inputs for each parser; default 12")
    parser.add_argument("names", nargs="*", help="names of parsers; default all")
    options = parser.parse_args()
    failed = total = 0
    print(f"{'parser':32}{'inputs':>7}{'worst CPU s':>13}{'peak MiB':>10}  not answered")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, honest in fuzzing.seeds(folder).items():
            if options.names and name.partition(".")[0] not in options.names:
                continue
            fuzzing.fuzz(name, honest, folder, examples=3, number=0)()  # imports before the forks
            found = dict(costs(name, honest, folder, options.each))
            bad = [number for number, each in found.items() if each.ended or each.seconds > SECONDS]
            seconds = max(each.seconds for each in found.values())
            mib = max(each.mib for each in found.values())
            print(f"{name:32}{len(found):7}{seconds:13.2f}{mib:10.0f}  {bad or '-'}", flush=True)
            failed, total = failed + len(bad), total + len(found)
    print(f"{total} inputs of {SIZE:,} bytes, {failed} not answered in {SECONDS} s and 1 GiB")
    if failed:
        raise SystemExit(f"{failed} inputs were not answered")


if __name__ == "__main__":
    main()
