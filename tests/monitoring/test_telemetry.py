from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

from mlsecops.monitoring import METRICS
from mlsecops.monitoring.telemetry.metrics import metric

# OpenTelemetry takes one meter provider per process, so exports are read in a fresh one.
EXPORT = """
import json, numpy as np
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from mlsecops.errors import CallRefused
from mlsecops.monitoring import Baseline, METRICS, RateLimit, monitored

rng = np.random.default_rng(0)
x, p = rng.normal(size=(400, 3)), rng.dirichlet([5, 1], 400)
baseline = Baseline.fit(x, p)
make = lambda name: monitored(
    name, baseline=baseline, guards=[RateLimit(1, burst=300)], request_id=lambda r: "id",
    client=lambda r: "c",
)(lambda r: p[0])
first, second, moved = make("m"), make("m"), make("moved")
memory, registry = InMemoryMetricReader(), CollectorRegistry()
metrics.set_meter_provider(
    MeterProvider(metric_readers=[memory, PrometheusMetricReader(registry=registry)])
)
for row in x[:300]: first(row)
for row in x[:100]: second(row)
for row in x[:100] + 50: moved(row)
try: first(x[0])
except CallRefused: pass
first.monitor.record_label("id", 0)
points = {}
for resource in memory.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            assert metric.description
            points[metric.name] = [
                [
                    dict(point.attributes),
                    list(point.bucket_counts) if hasattr(point, "bucket_counts") else point.value,
                ]
                for point in metric.data.data_points
            ]
from mlsecops.integrations.prometheus import collector
own = CollectorRegistry()
own.register(collector())
read = lambda registry: sorted({
    line.split("{")[0]
    for line in generate_latest(registry).decode().splitlines()
    if line.startswith("mlsecops")
})
samples = read(registry)
assert samples == read(own), (samples, read(own))
print(json.dumps({"points": points, "samples": samples}))
"""


def exported() -> dict[str, dict[str, list[list[object]]]]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXPORT)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": "."},
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return] # printed above


def test_what_is_exported_is_what_happened_under_the_names_of_the_table() -> None:
    result = exported()
    points = result["points"]
    assert {row[0]["monitor"] for row in points["mlsecops.inference.calls"]} == {"m", "moved"}
    (drifted,) = (r[1] for r in points["mlsecops.drift.features"] if r[0]["monitor"] == "moved")
    assert drifted == 3
    points = {
        name: [row for row in rows if row[0]["monitor"] == "m"] for name, rows in points.items()
    }
    calls = {row[0]["outcome"]: row[1] for row in points["mlsecops.inference.calls"]}
    # Two monitors of one name add up: no same-named instruments that overwrite each other.
    assert calls == {"ok": 400, "refused": 1, "error": 0}
    assert points["mlsecops.guard.refusals"] == [[{"monitor": "m", "guard": "RateLimit"}, 1]]
    for name in ("mlsecops.inference.duration", "mlsecops.prediction.confidence.distribution"):
        ((_, buckets),) = points[name]
        assert sum(buckets) == 400
        assert len(buckets) == len(metric(name).bounds) + 1
    assert points["mlsecops.model.accuracy"] == [[{"monitor": "m"}, 1.0]]
    known = {metric.name for metric in METRICS}
    assert set(points) <= known
    # Every Prometheus name is the one that dashboards and rules are made from.
    expected = {
        metric.prometheus + suffix
        for metric in METRICS
        if metric.name in points
        for suffix in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
    }
    assert set(result["samples"]) == expected
    silent = known - set(points)
    assert points["mlsecops.monitor.dropped"] == [[{"monitor": "m"}, 0]]
    assert silent == {
        "mlsecops.extraction.coverage",
        "mlsecops.extraction.score",
        "mlsecops.model.accuracy.baseline",
        "mlsecops.model.accuracy.expected",
        "mlsecops.model.accuracy.limit",
        "mlsecops.model.accuracy.slide",
        "mlsecops.model.loss.baseline",
        "mlsecops.model.loss.expected",
    }
