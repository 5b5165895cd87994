"""Live dashboard of a monitor as a web page that refreshes itself.

monitor → snapshots of the last minutes → page at `/`, newest as JSON at `/snapshot.json`
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from mlsecops._choices import named
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.monitoring.monitor import Monitor
from mlsecops.monitoring.service_view import service_snapshot
from mlsecops.reports import dashboard_page

__all__ = ["LiveDashboard"]

_KEPT: Final = 30  # snapshots; chosen: 2.5 minutes at the default interval
_LOOPBACK: Final = {"127.0.0.1", "localhost", "[::1]"}


@concise_repr("url")
@named
class LiveDashboard:
    """Serves a monitor's page from a thread until it is closed.

    With `PROMETHEUS_MULTIPROC_DIR` the page of each worker is about all processes of the service;
    give each worker a port of its own (`port=0`), or open it in one.

    The page names clients and has no password, so by default it listens on this machine alone, and
    there it answers requests by a loopback name only.

    Attributes:
        url: Address of the page.

    Args:
        monitor: `fn.monitor` of a monitored function.
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        interval: Seconds between two snapshots and between two refreshes, > 0.
        references: Panel (`"confidence"`, `"accuracy"`) → value of the baseline.
        now: Returns the time label of a snapshot.

    Raises:
        UsageError: The address is not available, or the interval is not above 0.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        interval: float = 5.0,
        references: Mapping[str, float] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if interval <= 0:
            raise UsageError(f"interval: expected seconds above 0, got {interval}")
        self._monitor = monitor
        self.interval = interval
        self._references = dict(references or {})
        self._now = now
        self._states: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_KEPT)
        self._stop = threading.Event()
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise UsageError(f"dashboard: cannot listen on {host}:{port}: {error}") from error
        self.url = f"http://{host}:{self._server.server_port}/"
        self._take()
        self._threads = [
            threading.Thread(target=each, name="mlsecops-dashboard", daemon=True)
            for each in (self._server.serve_forever, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def page(self) -> str:
        """The current page."""
        labels, states = zip(*list(self._states), strict=True)
        return dashboard_page(
            states,
            name=self._monitor.name,
            digest=self._monitor.digest,
            labels=labels,
            references=self._references,
        )

    def newest(self) -> dict[str, Any]:
        """The newest snapshot as plain values."""
        return self._states[-1][1]

    def _take(self) -> None:
        state = service_snapshot(self._monitor)
        self._states.append((f"{self._now():%H:%M:%S}", state))

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self._take()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], dashboard: LiveDashboard) -> None:
        self.dashboard = dashboard
        self.names = _LOOPBACK | {address[0]}
        super().__init__(address, _Page)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects early."""


class _Page(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        dashboard = self.server.dashboard
        asked = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if asked not in self.server.names and self.server.server_address[0] in _LOOPBACK:
            # DNS rebinding: a foreign page can point its own name at this machine.
            self.send_error(421, "ask for this page by the address it listens on")
        elif self.path == "/":
            self._send("text/html; charset=utf-8", dashboard.page(), refresh=dashboard.interval)
        elif self.path == "/snapshot.json":
            self._send("application/json", json.dumps(dashboard.newest()))
        else:
            self.send_error(404, "here are / and /snapshot.json")

    def _send(self, kind: str, text: str, *, refresh: float | None = None) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if refresh is not None:
            self.send_header("Refresh", f"{refresh:g}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
