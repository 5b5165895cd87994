"""Metrics for CloudWatch, by moto's CloudWatch and by the format's specification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws

from mlsecops.errors import MLSecOpsError
from mlsecops.integrations import cloudwatch
from mlsecops.integrations.cloudwatch import CloudWatch
from mlsecops.monitoring import Baseline, RateLimit, monitored
from mlsecops.monitoring.instruments import collected
from mlsecops.monitoring.telemetry import exporter
from tests.attackers.monitoring import flood

RNG = np.random.default_rng(0)
ROWS, ANSWERS = RNG.normal(size=(300, 3)), RNG.dirichlet([5, 1], 300)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("cloudwatch", region_name="eu-west-1")


@pytest.fixture(autouse=True)
def _own_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monitors of a test alone: other tests of the process left hundreds."""
    before = set(exporter._series)

    def fresh(**_: bool) -> Iterator[Any]:
        for metric, points in collected():
            own = [point for point in points if point[0][0] not in before]
            if own:
                yield metric, own

    monkeypatch.setattr(cloudwatch, "collected", fresh)


def served(name: str) -> Any:
    limit = RateLimit(0.001, burst=250)
    baseline = Baseline.fit(ROWS, ANSWERS)
    return monitored(name, baseline=baseline, guards=[limit], client=lambda _: "c")(
        lambda _: ANSWERS[0]
    )


def own(lines: list[str], name: str) -> dict[str, float]:
    """Values of one monitor, by metric and further dimensions."""
    values: dict[str, float] = {}
    for line in lines:
        entry = json.loads(line)
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        (dimensions,) = directive["Dimensions"]
        if entry["monitor"] == name:
            more = [entry[key] for key in dimensions if key != "monitor"]
            for metric in directive["Metrics"]:
                values[" ".join([metric["Name"], *more])] = entry[metric["Name"]]
    return values


def test_lines_keep_to_the_embedded_metric_format() -> None:
    predict = served("emf-format")
    flood(predict, 10, ROWS[0])
    lines = CloudWatch(namespace="Shop/ML", clock=lambda: 1700.0).lines()
    assert lines
    for line in lines:
        entry = json.loads(line)
        assert "\n" not in line
        assert entry["_aws"]["Timestamp"] == 1_700_000
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Shop/ML"
        assert 1 <= len(directive["Metrics"]) <= 100
        for names in directive["Dimensions"]:
            assert all(isinstance(entry[name], str) and entry[name].isascii() for name in names)
            assert len(names) <= 30
        for metric in directive["Metrics"]:
            assert metric["Unit"] in {"Count", "Seconds", "None", "Count/Second"}
            assert isinstance(entry[metric["Name"]], float)
    predict.monitor.close()


def test_counters_are_sent_as_what_happened_since_the_last_time() -> None:
    cloud, predict = CloudWatch(), served("emf")
    flood(predict, 300, ROWS[0])
    first = own(cloud.lines(), "emf")
    assert first["mlsecops.inference.calls ok"] == 250
    assert first["mlsecops.guard.refusals RateLimit"] == 50
    assert first["mlsecops.inference.duration.count"] == 250
    assert 0 < first["mlsecops.prediction.confidence"] <= 1
    flood(predict, 7, ROWS[0])
    second = own(cloud.lines(), "emf")
    assert second["mlsecops.guard.refusals RateLimit"] == 7
    assert "mlsecops.inference.calls ok" not in second
    assert second["mlsecops.prediction.confidence"] == first["mlsecops.prediction.confidence"]
    predict.monitor.close()


def test_put_metric_data_arrives_with_units_dimensions_and_distributions(client: Any) -> None:
    cloud, predict = CloudWatch(), served("put")
    flood(predict, 260, ROWS[0])
    assert cloud.put(client) > 10
    assert cloud.put(client) > 0
    here = [{"Name": "monitor", "Value": "put"}]
    now = datetime.now(UTC)

    def total(name: str, *more: dict[str, str]) -> tuple[float, str]:
        points = client.get_metric_statistics(
            Namespace="mlsecops",
            MetricName=name,
            Dimensions=[*here, *more],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=600,
            Statistics=["Sum", "SampleCount"],
        )["Datapoints"]
        return sum(each["Sum"] for each in points), points[0]["Unit"]

    ok = {"Name": "outcome", "Value": "ok"}
    assert total("mlsecops.inference.calls", ok) == (250, "Count")
    assert total("mlsecops.inference.duration.sum")[1] == "Seconds"
    names = {each["MetricName"] for each in client.list_metrics(Namespace="mlsecops")["Metrics"]}
    assert {"mlsecops.inference.duration.distribution", "mlsecops.input.rows"} <= names
    assert not any(name.endswith(".bucket") for name in names)
    predict.monitor.close()


class Recording:
    """A client that remembers what it got, and refuses on request."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.refuses = False

    def put_metric_data(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> None:  # noqa: ARG002, N803 - boto3's names
        if self.refuses:
            raise ConnectionError("throttled")
        assert len(MetricData) <= 1000
        self.data += MetricData

    def calls(self, monitor: str) -> float:
        return sum(
            each["Value"]
            for each in self.data
            if each["MetricName"] == "mlsecops.inference.calls"
            and {"Name": "monitor", "Value": monitor} in each["Dimensions"]
        )


def test_what_could_not_be_sent_is_sent_the_next_time_and_once() -> None:
    cloud, predict, cut = CloudWatch(), served("retry"), Recording()
    flood(predict, 20, ROWS[0])
    cut.refuses = True
    with pytest.raises(MLSecOpsError, match="cloudwatch: sent 0 of"):
        cloud.put(cut)
    cut.refuses = False
    cloud.put(cut)
    cloud.put(cut)
    assert cut.calls("retry") == 20
    spread = [
        each
        for each in cut.data
        if each["MetricName"].endswith("duration.distribution")
        and each["Dimensions"] == [{"Name": "monitor", "Value": "retry"}]
    ]
    assert sum(sum(each["Counts"]) for each in spread) == 20
    assert all(len(each["Values"]) == len(each["Counts"]) <= 150 for each in spread)
    predict.monitor.close()


def test_thousands_of_data_go_in_requests_and_none_is_sent_twice() -> None:
    cloud, cut = CloudWatch(), Recording()
    monitors = [monitored(f"many-{i}", client=str)(len) for i in range(150)]
    for each in monitors:
        flood(each, 3, "x")
    whole = cut.put_metric_data

    def once(**request: Any) -> None:
        cut.refuses = bool(cut.data)
        whole(**request)

    cut.put_metric_data = once  # type: ignore[method-assign] # only the first request passes
    with pytest.raises(MLSecOpsError, match="sent 1000 of"):
        cloud.put(cut)
    cut.refuses, cut.put_metric_data = False, whole  # type: ignore[method-assign] # as above
    cloud.put(cut)
    assert [cut.calls(f"many-{i}") for i in range(150)] == [3.0] * 150
    for each in monitors:
        each.monitor.close()


def test_monitor_with_a_name_that_cloudwatch_forbids_is_made_plain() -> None:
    cloud, predict, sent = CloudWatch(), monitored(":モデル" + "x" * 2000)(len), Recording()
    predict("abc")
    cloud.put(sent)
    values = {pair["Value"] for each in sent.data for pair in each["Dimensions"]}
    plain = [value for value in values if value.startswith("\\u30e2")]
    assert plain
    assert all(value.isascii() and len(value) <= 1024 for value in values)
    predict.monitor.close()
