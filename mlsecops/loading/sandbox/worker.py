"""Ask a process that may die what it finds in a file.

One child is started when the first question comes and answers all of them (`apart_child`), each
in a fork of its own: starting Python and its libraries anew would take a quarter of a second a
file. A process that is forked from ours starts its own child.
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

_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from mlsecops.loading.sandbox.worker_main import main; main()"
)


class Died(Exception):
    """The process that was asked ended without an answer.

    Args:
        status: As `subprocess` tells it: below zero, the signal that ended it.

    Attributes:
        late: Whether its time was over.
    """

    def __init__(self, status: int) -> None:
        named = next((each.name for each in signal.Signals if each == -status), f"status {status}")
        super().__init__(named)
        self.late = named in {"SIGXCPU", "SIGALRM"}


class _Child:
    """The process, and the socket to it."""

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
        """What it answers.

        Raises:
            Died: The fork for this question ended without an answer, or said more than it may.
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
        status = self._status()
        if status or not answer or len(answer) > most:
            raise Died(status)
        return answer

    def _status(self) -> int:
        said = b""
        while not said.endswith(b"\n"):
            more = self._ours.recv(64)
            if not more:
                raise ConnectionResetError("the process that was asked is gone")
            said += more
        return int(said)

    def end(self) -> None:
        """Let it go; a fork of ours only stops to use it."""
        self._ours.close()
        if self._owner != os.getpid():
            self._process.returncode = 0  # nothing of ours to wait for
            return
        self._process.kill()
        self._process.wait()


class _Desk:
    """The one child, once it is needed, and one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def ask(self, file: int, question: bytes, most: int) -> bytes:
        with self._lock:
            try:
                return self._asked(file, question, most)
            except OSError:  # somebody ended it since the last question
                self.clear()
                return self._asked(file, question, most)
            except Died:
                raise
            except BaseException:  # an answer may be on its way, and would be taken for the next
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
        """In a fork: the child is another's, and so may the lock's holder be."""
        self._lock = threading.Lock()
        self.clear()


_desk: Final = _Desk()
atexit.register(_desk.clear)
with contextlib.suppress(AttributeError):  # where nothing forks, nothing is to renew
    os.register_at_fork(after_in_child=_desk.renew)


def ask(file: int, question: dict[str, Any], *, most: int) -> dict[str, Any]:
    """What the child finds in a file.

    Args:
        file: Descriptor of the file, open for reading; its position moves.
        question: What `apart_child` needs to know besides.
        most: Bytes of the answer that are taken.

    Raises:
        Died: There was no answer: the file was too much for the library.
        OSError: No process can be started.
    """
    found: dict[str, Any] = json.loads(_desk.ask(file, json.dumps(question).encode() + b"\n", most))
    return found
