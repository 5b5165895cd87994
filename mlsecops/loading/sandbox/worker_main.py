"""Main loop of the worker process, which forks for each file.

question and two descriptors (file, pipe for the answer) → fork within limits → answer → exit status

`worker` runs it once, as `python -c`; its standard input is the socket to the owner. It keeps no
state between questions, so that one file cannot affect the next.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, Final

from mlsecops.errors import MLSecOpsError
from mlsecops.loading.containers.zip_archive import StreamSlice
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_walk import walk

MEMORY: Final = 4 << 30  # bytes of address space beyond the libraries'; chosen
_SMALL_MEMORY: Final = 512 << 20  # bytes; chosen: half of what an input of 1 MB may take
_MEMORY_RATIO: Final = 64  # bytes of memory for each of a file; chosen: its chunks are compressed
_PATIENCE: Final = 20  # seconds of wall time for each of CPU time; chosen: allows for slow storage


def main() -> None:
    """Answer questions until the socket is closed."""
    with contextlib.suppress(ImportError):
        import h5py  # noqa: F401, PLC0415 - once, before the forks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the owner
    asked = socket.socket(fileno=0)
    while True:
        text, descriptors = _question(asked)
        if not text:
            return
        pid = os.fork()
        if pid == 0:
            _answer(json.loads(text), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status, usage = os.wait4(pid, 0)
        seconds = usage.ru_utime + usage.ru_stime
        asked.sendall(b"%d %f\n" % (os.waitstatus_to_exitcode(status), seconds))


def _question(asked: socket.socket) -> tuple[bytes, list[int]]:
    text, descriptors, _, _ = socket.recv_fds(asked, 1 << 16, 2)
    while text and not text.endswith(b"\n"):
        more = asked.recv(1 << 16)
        if not more:
            return b"", []
        text += more
    return text, list(descriptors)


def _answer(question: dict[str, Any], file: int, pipe: int) -> None:
    """In the fork: read the file within limits, answer, and exit."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(nothing.fileno(), 0)  # the fork must not read further questions
    limits = Limits(**question["limits"])
    memory = min(MEMORY, _SMALL_MEMORY + _MEMORY_RATIO * question["size"])
    _limit(limits.seconds, memory)
    try:
        answer = _walk(question, file, limits)
    except MLSecOpsError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
        answer |= {name: getattr(error, name, "") for name in ("rule", "where")}
    except Exception as error:  # noqa: BLE001 - the owner decides what it means
        answer = {"error": "", "message": f"{type(error).__name__}: {error}"}
    with os.fdopen(pipe, "w", encoding="utf-8", errors="surrogatepass") as out:
        json.dump(answer, out)
    os._exit(0)


def _walk(question: dict[str, Any], file: int, limits: Limits) -> dict[str, Any]:
    with os.fdopen(file, "rb") as whole:
        part = io.BufferedReader(StreamSlice(whole, question["start"], question["size"]))
        found = walk(part, where=question["where"], limits=limits)
    return {"numbers": found.numbers, "config": found.config, "training": found.training}


def _limit(seconds: float, memory: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(max(1, int(seconds * _PATIENCE)))
    whole = max(1, int(seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as status:  # noqa: PTH123 - one read
            mapped = int(status.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
