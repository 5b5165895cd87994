"""Ceilings of CPU time and memory for one call, and counts of its work.

call → `answered` in a forked process that the kernel ends at a ceiling → an error, or nothing
call → `calls_in` → functions that were called, a measure that does not depend on the machine
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = (
    30  # CPU seconds; chosen: three times what any input may take, quadratic work takes minutes
)
MEMORY = 1 << 30  # bytes beyond what is mapped already


def answered(call: Callable[..., object], *arguments: Any) -> None:
    """Demand that a call returns below the ceilings; what it raises is shown and fails."""
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (_used() + SECONDS, _used() + SECONDS))
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
            call(*arguments)
            status = 0
        except BaseException:  # noqa: BLE001 - the fork must not return into the test runner
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended) == 0, "raised, or was ended at a ceiling"


def _used() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1


def calls_in(call: Callable[..., object], *arguments: Any) -> int:
    """Number of functions of Python and C that a call calls."""
    count = 0

    def look(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(look)
    try:
        call(*arguments)
    finally:
        sys.setprofile(None)
    return count
