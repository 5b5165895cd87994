"""Metrics of all monitors for Prometheus, without an OpenTelemetry SDK.

monitors → metric families with the names of OpenTelemetry's exporter → page at `/metrics`, or a
collector for the service's own registry

Each process serves its own page: give workers different ports, or let OpenTelemetry push.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from mlsecops._choices import checked
from mlsecops._extras import require
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.monitoring.instruments import collected
from mlsecops.readings import Metric

__all__ = ["Exporter", "collector", "serve"]


class _Collector:
    def collect(self) -> Iterator[Any]:
        core = require("prometheus_client.core")
        for metric, points in collected():
            # A family has the name of its samples without their suffix.
            name = metric.prometheus.removesuffix("_total")
            family = core.Metric(name, metric.description, metric.kind)
            for attributes, value in points:
                present = zip(metric.labels, attributes, strict=True)
                labels = {k: v for k, v in present if v}
                for suffix, more, sample in _samples(metric, value):
                    family.add_sample(metric.prometheus + suffix, labels | more, sample)
            yield family


def _samples(metric: Metric, value: Any) -> Iterator[tuple[str, dict[str, str], float]]:
    """Samples of a point: suffix of the name, further labels, value.

    Source: Prometheus, Exposition formats, "Histograms and summaries" (cumulative buckets).
    """
    if metric.kind != "histogram":
        yield "", {}, value
        return
    bounds = (*(f"{float(bound)!r}" for bound in metric.bounds), "+Inf")
    for bound, upto in zip(bounds, value.counts.cumsum().tolist(), strict=True):
        yield "_bucket", {"le": bound}, float(upto)
    yield "_count", {}, float(value.count)
    yield "_sum", {}, value.total


@concise_repr("url")
class Exporter:
    """A page for Prometheus, served by a thread until it is closed.

    Attributes:
        url: Address of the page.
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
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@checked
def serve(*, host: str = "127.0.0.1", port: int = 9464) -> Exporter:
    """Serve the metrics of every monitor of this process.

    Args:
        host: Address to listen on, by default this machine alone; the page has no password.
        port: TCP port; 0 takes a free one.

    Raises:
        UsageError: The address is not available.
        MissingExtra: `prometheus_client` is not installed.

    Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" (names).
    """
    return Exporter(host, port)


def collector() -> Any:
    """Make a collector for a registry of `prometheus_client` that the service serves already."""
    return _Collector()
