"""A real Prometheus reads a real service, and its rules reach a real Alertmanager."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mlsecops.errors import UsageError
from mlsecops.integrations.prometheus import collector, serve
from mlsecops.monitoring import METRICS, monitored
from mlsecops.reports import alert_rules
from mlsecops.reports.grafana import PANELS
from tests.conftest import program
from tests.services import alertmanager, eventually, prometheus

# Serves digits in a process of its own; each line on standard input is a kind of traffic.
SERVICE = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mlsecops.integrations.prometheus import serve
from mlsecops.monitoring import Baseline, monitored

x, y = load_digits(return_X_y=True)
model = LogisticRegression(max_iter=100).fit(x[:600] / 16, y[:600])
answer = lambda rows: model.predict_proba(np.atleast_2d(rows) / 16)
baseline = Baseline.fit(x[600:1200], answer(x[600:1200]), y[600:1200])
predict = monitored("digits", baseline=baseline, client=lambda _: "c", capacity=1000)(
    lambda row: answer(row)[0]
)
flooded = monitored("flooded", capacity=1)(lambda row: row)
with serve(port=0) as page:
    print(page.url, flush=True)
    for line in sys.stdin:
        kind = line.strip()
        if kind == "normal":
            for row in x[1200:1500]: predict(row)
        elif kind == "inverted":
            for row in x[1200:1500]: predict(16 - row)
        elif kind == "flood":
            flooded.monitor._lock.acquire()
            for _ in range(50): flooded(1)
            flooded.monitor._lock.release()
        print(kind, flush=True)
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: models
    static_configs: [{{targets: ["{target}"]}}]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ["{alertmanager}"]}}]
"""
ALERTMANAGER = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n"


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - loopback
        return str(answer.read().decode())


@contextmanager
def service() -> Iterator[tuple[str, Any]]:
    """The page of a running service, and a function that sends it traffic."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader, writer = process.stdout, process.stdin

        def send(kind: str) -> None:
            writer.write(f"{kind}\n")
            writer.flush()
            assert reader.readline().strip() == kind

        try:
            yield reader.readline().strip(), send
        finally:
            writer.close()
            process.wait(timeout=20)


def test_prometheus_reads_a_running_service_and_its_rules_reach_alertmanager(
    tmp_path: Path,
) -> None:
    (tmp_path / "alerts.yml").write_text(alert_rules(window="30s"))
    (tmp_path / "alertmanager.yml").write_text(ALERTMANAGER)
    config = tmp_path / "prometheus.yml"
    with (
        service() as (page, send),
        alertmanager(tmp_path / "alertmanager.yml", tmp_path / "alerts") as pager,
    ):
        hosts = [address.split("/")[2] for address in (page, pager)]
        config.write_text(PROMETHEUS.format(target=hosts[0], alertmanager=hosts[1]))
        checked = [program("promtool"), "check", "config", str(config)]
        assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
        with prometheus(config, tmp_path / "series") as server:

            def value(query: str) -> float | None:
                found = json.loads(get(f"{server}/api/v1/query?query={quote(query)}"))
                rows = found["data"]["result"]
                return float(rows[0]["value"][1]) if rows else None

            def series(query: str) -> list[dict[str, str]]:
                for name, text in (("$monitor", ".+"), ("$__rate_interval", "1m")):
                    query = query.replace(name, text)
                found = json.loads(get(f"{server}/api/v1/query?query={quote(query)}"))
                return [row["metric"] for row in found["data"]["result"]]

            def firing() -> set[tuple[str, str]]:
                alerts = json.loads(get(f"{pager}/api/v2/alerts"))
                return {(each["labels"]["monitor"], each["labels"]["rule"]) for each in alerts}

            queries = {query.expression: panel.id for panel in PANELS for query in panel.queries}
            for query, panel in queries.items():
                # Before anything has happened each panel knows of the monitors.
                eventually(lambda query=query: series(query), f"series of the panel {panel}")
            send("normal")
            calls = 'mlsecops_inference_calls_total{monitor="digits",outcome="ok"}'
            eventually(lambda: value(calls) == 300, "300 calls in Prometheus")
            assert value('mlsecops_monitor_dropped_total{monitor="flooded"}') == 0
            buckets = 'mlsecops_inference_duration_seconds_bucket{monitor="digits"}'
            assert 0 < (value(f"histogram_quantile(0.5, {buckets})") or 0) < 10
            assert firing() == set()
            send("inverted")
            send("flood")
            expected = {
                ("digits", "drift"),
                ("digits", "confidence-low"),
                ("digits", "input-anomaly"),
                ("digits", "prediction-drift"),
                ("flooded", "dropped"),
            }
            eventually(lambda: firing() >= expected, "five alerts in Alertmanager")
            assert firing() == expected
            (drifted,) = (query for query, panel in queries.items() if panel == "drift")
            features = {each.get("feature") for each in series(drifted)} - {None}
            assert 5 < len(features) < 64
            alerts = json.loads(get(f"{pager}/api/v2/alerts"))
            labels = [each["labels"] for each in alerts if each["labels"]["rule"] == "dropped"]
            # AlertmanagerSink gives the same, so that both count as one.
            assert labels == [
                {
                    "alertname": "MlsecopsDropped",
                    "monitor": "flooded",
                    "rule": "dropped",
                    "severity": "high",
                }
            ]


def test_page_satisfies_promtool_and_has_the_names_of_the_table() -> None:
    predict = monitored("page", client=str)(lambda x: x)
    predict(1)
    with serve(port=0) as page:
        text = get(page.url)
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert families["mlsecops_inference_duration_seconds"] == "histogram"
    assert families["mlsecops_prediction_confidence_distribution"] == "histogram"
    assert set(families) <= {metric.prometheus.removesuffix("_total") for metric in METRICS}
    predict.monitor.close()


def test_own_registry_gets_the_same_metrics() -> None:
    predict = monitored("registry", client=str)(lambda x: x)
    predict("a\\b\n")
    registry = CollectorRegistry()
    registry.register(collector())
    text = generate_latest(registry).decode()
    line = 'mlsecops_inference_calls_total{monitor="registry",outcome="ok"} 1.0'
    assert line in text.splitlines()
    predict.monitor.close()


def test_port_that_is_taken_is_the_callers_mistake_and_a_closed_page_is_gone() -> None:
    with serve(port=0) as page:
        port = int(page.url.split(":")[2].split("/")[0])
        with pytest.raises(UsageError, match="cannot listen"):
            serve(port=port)
    with pytest.raises(OSError, match="refused"):
        get(page.url)
