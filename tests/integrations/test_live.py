"""The live page, as a browser draws it and as a stranger asks for it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.integrations.live import LiveDashboard
from mlsecops.monitoring import Baseline, monitored
from tests.pictures import picture, share
from tests.services import eventually

BLUE, RED = "#1f57a8", "#b3261e"
TITLES = (
    "Prediction confidence",
    "Distribution of confidence",
    "Query rate by client",
    "Accuracy over time",
    "Input anomaly",
    "Anomalous rows by detector",
    "Drift",
    "Dropped observations",
)


@pytest.fixture
def served() -> Iterator[Any]:
    rng = np.random.default_rng(0)
    rows, answers = rng.normal(size=(600, 6)), rng.dirichlet([6, 1, 1], 600)
    baseline = Baseline.fit(rows, answers, answers.argmax(axis=1))

    @monitored(
        "fraud",
        baseline=baseline,
        client=lambda i, _: f"client-{i % 5}",
        request_id=lambda i, _: i,
        inputs=lambda i, shift: rows[i] + shift,
    )
    def predict(i: int, shift: float) -> Any:
        return np.full(3, 1 / 3) if shift else answers[i]

    def traffic(first: int, shift: float) -> None:
        for i in range(first, first + 300):
            predict(i, shift)
            predict.monitor.record_label(i, int(answers[i].argmax()))
        assert predict.monitor.flush(10)

    predict.traffic = traffic  # type: ignore[attr-defined] # a handle for the test
    yield predict
    predict.monitor.close()


def get(url: str, **headers: str) -> tuple[int, str, Any]:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, "", error.headers


def test_browser_draws_every_panel_and_turns_it_red_when_traffic_does(
    served: Any, tmp_path: Path
) -> None:
    served.traffic(0, 0.0)
    with LiveDashboard(served.monitor, interval=60) as live:
        calm, console = picture(live.url, tmp_path / "calm.png")
        assert console == ""
        served.traffic(300, 5.0)
        live._take()
        alarmed, _ = picture(live.url, tmp_path / "alarmed.png")
        _, html, _ = get(live.url)
    for title in TITLES:
        assert f"<h2>{title}</h2>" in html
    assert share(calm, BLUE) > 0.01
    assert share(alarmed, RED) > share(calm, RED) + 0.005
    assert calm.shape == alarmed.shape


def test_page_draws_itself_anew_from_newer_snapshots(served: Any) -> None:
    with LiveDashboard(served.monitor, interval=0.05) as live:
        assert json.loads(get(f"{live.url}snapshot.json")[1])["calls"] == 0
        served.traffic(0, 0.0)
        eventually(
            lambda: json.loads(get(f"{live.url}snapshot.json")[1])["processed"] == 300, "300 calls"
        )
        state = json.loads(get(f"{live.url}snapshot.json")[1])
        assert sum(state["confidences"].values()) == 300
        assert set(state["anomalies"]) >= {"range", "confidence"}
        status, _, headers = get(live.url)
        assert (status, headers["Refresh"], headers["Cache-Control"]) == (200, "0.05", "no-store")


def test_page_is_not_for_those_who_ask_by_another_name(served: Any) -> None:
    with LiveDashboard(served.monitor, interval=60) as live:
        port = live.url.rstrip("/").rpartition(":")[2]
        assert get(live.url, Host=f"localhost:{port}")[0] == 200
        assert get(live.url, Host="rebound.example.org")[0] == 421
        assert get(f"{live.url}snapshot.json", Host=f"rebound.example.org:{port}")[0] == 421
        assert get(f"{live.url}../etc/passwd")[0] == 404
        with pytest.raises(UsageError, match="cannot listen"):
            LiveDashboard(served.monitor, port=int(port))
    with pytest.raises(UsageError, match="interval"):
        LiveDashboard(served.monitor, interval=0)
