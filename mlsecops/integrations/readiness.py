"""Readiness of a served model: verified again and again, shown to a probe as a file and by HTTP.

check → `Readiness` at an interval → ready file, `GET /readyz` → the pod takes requests, or none

A model is ready only while its latest check succeeded: before the first one, after a failed one and
while one is impossible it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked, named
from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.errors import (
    ChangedDuringLoad,
    DigestMismatch,
    MalformedBundle,
    MLSecOpsError,
    SignatureMissing,
    UsageError,
)
from mlsecops.signing import Verified

__all__ = ["Readiness", "ReadinessState", "await_verified"]

_FIRST_PAUSE: Final = 0.5  # seconds; chosen: a small download is noticed at once
_LONGEST_PAUSE: Final = 5.0  # seconds; chosen: hashing a large model again and again is work
_REQUEST: Final = 5.0  # seconds; chosen: a probe that takes longer to ask holds no thread
_PASSING: Final = (
    ChangedDuringLoad, DigestMismatch, MalformedBundle, SignatureMissing, UsageError
)  # fmt: skip
"""Errors that a download in progress may have; a path that is not there yet is a wrong use."""
_OK, _UNREADY, _UNKNOWN = 200, 503, 404  # statuses of RFC 9110; one that probes read


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessState:
    """Result of the latest check.

    Attributes:
        ready: Whether the model may be served.
        digest: Root digest of the verified model, or empty.
        reason: Name of the error, or empty.
        message: Its text, for logs; it is not shown by HTTP.
        checks: Number of checks so far.
    """

    ready: bool = False
    digest: str = ""
    reason: str = "NotChecked"
    message: str = "no check so far"
    checks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a probe."""
        return {"ready": self.ready, "digest": self.digest, "reason": self.reason}


@concise_repr("state", "_interval", "_file")
class Readiness:
    """Repeats a check and shows its latest result.

    Args:
        check: Verifies the model, or raises; it reads its policy anew, so that later revocations
            are seen.
        interval: Seconds between checks, > 0.
        ready_file: File that is there only while the model is ready; its time is that of the latest
            check, so that a probe can refuse an old one.
        notify: Called with each state that differs from the one before.

    Raises:
        UsageError: The interval is not positive.

    Examples:
        >>> readiness = Readiness(lambda: None, interval=30)
        >>> readiness.state.ready
        False
    """

    @checked
    def __init__(
        self,
        check: Callable[[], Verified | None],
        *,
        interval: float,
        ready_file: str | os.PathLike[str] | None = None,
        notify: Callable[[ReadinessState], object] | None = None,
    ) -> None:
        if interval <= 0:
            raise UsageError(f"interval: expected more than 0 seconds, got {interval}")
        self._check = check
        self._interval = interval
        self._file = None if ready_file is None else Path(ready_file)
        self._notify = notify
        self.state = ReadinessState()

    def run(self, stop: threading.Event) -> None:
        """Check until stopped; the model is not ready before and after."""
        self._remove()
        try:
            while not stop.is_set():
                self.check()
                stop.wait(self._interval)
        finally:
            self.state = ReadinessState(reason="Stopped", checks=self.state.checks)
            self._remove()

    def check(self) -> ReadinessState:
        """Check once, and show the result."""
        number, before = self.state.checks + 1, self.state
        try:
            verified = self._check()
        except Exception as error:  # noqa: BLE001 - a check that fails is a refusal
            self._remove()
            self.state = ReadinessState(
                reason=type(error).__name__, message=str(error), checks=number
            )
        else:
            digest = "" if verified is None else str(verified.digest)
            self.state = ReadinessState(
                ready=True, digest=digest, reason="", message="", checks=number
            )
            self._write()
        if self._notify is not None and self.state.to_dict() != before.to_dict():
            self._notify(self.state)
        return self.state

    @contextlib.contextmanager
    def serving(self, host: str, port: int) -> Iterator[int]:
        """Answer `GET /readyz`: 200 while the model is ready, else 503.

        Args:
            host: Address to listen on.
            port: TCP port; 0 for a free one.

        Yields:
            The port.

        Raises:
            UsageError: The address cannot be listened on.
        """
        readiness = self

        class ProbeServer(BaseHTTPRequestHandler):
            timeout = _REQUEST

            def do_GET(self) -> None:
                known = self.path.partition("?")[0] == "/readyz"
                state = readiness.state
                status = (_OK if state.ready else _UNREADY) if known else _UNKNOWN
                body = json.dumps(state.to_dict() if known else {}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Print nothing: a probe asks every few seconds."""

        try:
            server = ThreadingHTTPServer((host, port), ProbeServer)
        except OSError as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        with server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()

    def _write(self) -> None:
        if self._file is not None:
            write_atomically(self._file, f"{self.state.digest}\n".encode())

    def _remove(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)


@named
def await_verified(
    check: Callable[[], Verified],
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Verified:
    """Repeat a check until it succeeds: for an init container that waits for a download.

    What a download leaves for a while (files that are missing or not whole, a signature that is not
    there) is waited for; a signature that does not hold or that the policy refuses is not.

    Args:
        check: Verifies the model, or raises.
        seconds: How long to wait; the latest error is raised then.
        clock: Time in seconds.
        sleep: Waits for seconds.

    Raises:
        MLSecOpsError: As the check raises.
    """
    end, pause = clock() + seconds, _FIRST_PAUSE
    while True:
        try:
            return check()
        except MLSecOpsError as error:
            left = end - clock()
            if left <= 0 or not isinstance(error, _PASSING):
                raise
            sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
