"""How Prometheus reads every monitor of this process: no OpenTelemetry SDK is needed.

monitors' Series → metric families, under the names that OpenTelemetry's exporter would give them →
a page at `/metrics`, or a collector in the registry of the service's own page

One process, one page: with several worker processes behind a port, give each a port of its own, or
let OpenTelemetry push.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.monitoring.telemetry.exporter import collected

__all__ = ["Exporter", "collector", "serve"]


class _Collector:
    """What `prometheus_client` asks for metrics."""

    def collect(self) -> Iterator[Any]:
        """Every metric that has points, with help text and type."""
        core = require("prometheus_client.core")
        for metric, points in collected():
            # A family has the name without the suffix that its samples have.
            name = metric.prometheus.removesuffix("_total")
            family = core.Metric(name, metric.description, metric.kind)
            for attributes, value in points:
                present = zip(metric.labels, attributes, strict=True)
                family.add_sample(metric.prometheus, {k: v for k, v in present if v}, value)
            yield family


class Exporter:
    """A page for Prometheus, served by a thread of its own until it is closed.

    Attributes:
        url: Where it is.
    """

    def __init__(self, host: str, port: int) -> None:
        client = require("prometheus_client")
        registry = client.CollectorRegistry()
        registry.register(_Collector())
        try:
            self._server, self._thread = client.start_http_server(
                port, addr=host, registry=registry
            )
        except OSError as error:
            raise UsageError(f"metrics: cannot listen on {host}:{port}: {error}") from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(*, host: str = "127.0.0.1", port: int = 9464) -> Exporter:
    """Serve the metrics of every monitor of this process.

    Args:
        host: Address to listen on; the default is reachable from this machine alone. The page has
            no password.
        port: TCP port; 0 takes a free one.

    Raises:
        UsageError: Nobody can listen there.
        MissingExtra: `prometheus_client` is not installed.

    Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" (names).
    """
    return Exporter(host, port)


def collector() -> Any:
    """A collector for a registry of `prometheus_client` that the service serves already."""
    return _Collector()
