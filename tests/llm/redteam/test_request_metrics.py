"""Requests to a model are measured by the conventions for generative AI, without their texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlsecops.llm.redteam import telemetry
from tests.attackers.llm_redteam import chat_server, planned_failures, refuse
from tests.llm.redteam.test_endpoint import ask

pytest.importorskip("opentelemetry.sdk")
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


def test_duration_and_tokens_have_the_names_of_the_conventions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", meters.get_meter)
    telemetry._telemetry.forget()
    with chat_server(planned_failures(refuse, 500)) as server:
        ask(server.url)
    data: Any = reader.get_metrics_data()
    telemetry._telemetry.forget()
    found = {
        metric.name: metric for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }  # fmt: skip
    assert {name: each.unit for name, each in found.items()} == {
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.token.usage": "{token}",
    }
    spent = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in found["gen_ai.client.token.usage"].data.data_points
    }
    assert spent == {"input": 100, "output": 10}
    points = found["gen_ai.client.operation.duration"].data.data_points
    assert [x.attributes.get("error.type") for x in points] == ["500", None]
    assert {x.attributes["gen_ai.request.model"] for x in points} == {"m"}
    assert "cannot help" not in json.dumps([dict(x.attributes) for x in points])
