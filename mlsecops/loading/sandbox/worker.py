"""Worker process that reads untrusted files with libraries that may crash.

file and question → the one child, started at the first question → a fork for each → answer, or Died

Starting Python and its libraries for each file would take a quarter of a second. A process that is
forked from this one starts its own child.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing import spawn
from typing import Any, Final

from mlsecops._bounded.budget import current
from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mlsecops.loading.sandbox.worker_main import main; main()"
)


class Died(Exception):
    """The worker ended without an answer.

    Args:
        status: Exit status; below zero, the number of the signal that ended it.

    Attributes:
        late: Whether it ran out of time.
    """

    def __init__(self, status: int) -> None:
        named = next((each.name for each in signal.Signals if each == -status), f"status {status}")
        super().__init__(named)
        self.late = named in {"SIGXCPU", "SIGALRM"}


class _Child:
    """The worker process and the socket to it."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._ours, theirs = socket.socketpair()
        python = os.fsdecode(spawn.get_executable() or sys.executable)
        path = json.dumps([os.path.abspath(place) for place in sys.path])  # noqa: PTH100 - "" too
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [python, "-I", "-B", "-c", _START, path],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def ask(self, file: int, question: bytes, most: int) -> bytes:
        """The answer to a question.

        Raises:
            Died: The fork for this question ended without an answer, or its answer is too long.
            OSError: The process itself is gone.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as answers:
            try:
                sent = socket.send_fds(self._ours, [question], [file, writing])
            finally:
                os.close(writing)
            self._ours.sendall(question[sent:])
            answer = answers.read(most + 1)
        status, seconds = self._status()
        if (whole := current()) is not None:
            whole.charge(seconds)
        if status or not answer or len(answer) > most:
            raise Died(status)
        return answer

    def _status(self) -> tuple[int, float]:
        """Exit status of a fork, and the CPU seconds that it took."""
        said = b""
        while not said.endswith(b"\n"):
            more = self._ours.recv(64)
            if not more:
                raise ConnectionResetError("the worker process is gone")
            said += more
        status, seconds = said.split()
        return int(status), float(seconds)

    def end(self) -> None:
        """End the process; in a fork of the owner only close the socket."""
        self._ours.close()
        if self._owner != os.getpid():
            self._process.returncode = 0  # it is no child of this process
            return
        self._process.kill()
        self._process.wait()


class _Desk:
    """The one worker, started when needed, and one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def ask(self, file: int, question: bytes, most: int) -> bytes:
        with self._lock:
            try:
                return self._asked(file, question, most)
            except OSError:  # it was ended since the last question
                self.clear()
                return self._asked(file, question, most)
            except Died:
                raise
            except BaseException:  # a late answer would be taken for the next one
                self.clear()
                raise

    def _asked(self, file: int, question: bytes, most: int) -> bytes:
        if self._child is None:
            self._child = _Child()
        return self._child.ask(file, question, most)

    def clear(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def renew(self) -> None:
        """In a fork: the worker belongs to the parent, and a thread of it may hold the lock."""
        self._lock = threading.Lock()
        self.clear()


_desk: Final = _Desk()
atexit.register(_desk.clear)
with contextlib.suppress(AttributeError):  # systems without fork
    os.register_at_fork(after_in_child=_desk.renew)


def ask(file: int, question: dict[str, Any], *, most: int) -> dict[str, Any]:
    """Ask the worker about a file.

    Args:
        file: Descriptor of the file, open for reading; its position moves.
        question: Further input of `worker_main`.
        most: Largest accepted answer, in bytes.

    Raises:
        Died: There was no answer: the library crashed or ran out of time.
        FormatRefused: The answer is no JSON object.
        OSError: No process can be started.
    """
    answer = _desk.ask(file, json.dumps(question).encode() + b"\n", most)
    return parse_object(answer, what="answer of the worker process", error=FormatRefused)
