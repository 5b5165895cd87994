"""Receivers of alerts, and the harm that a slow, dead or lying one cannot do."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry import _logs
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from mlsecops.errors import UsageError
from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import (
    DEFAULT_RULES,
    AlertmanagerSink,
    EventSink,
    LogSink,
    WebhookSink,
    monitored,
)
from mlsecops.monitoring.alerts.delivery import QueuedSink
from tests.conftest import program
from tests.services import alertmanager, eventually, free_port

FORGED = 'ann"\n2026-01-01 CRITICAL forged {{ line'
CONFIG = """
route:
  receiver: nobody
  group_wait: 0s
receivers:
  - name: nobody
"""


def alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "rule": "query-rate",
        "monitor": "fraud",
        "client": FORGED,
        "digest": "sha256:" + "0" * 64,
        "reading": 120.0,
        "threshold": 100.0,
        "window": "last minute",
        "severity": Severity.HIGH,
        "atlas": "AML.T0034",
        "message": "A client sends too much.",
        "at": datetime.now(UTC),
    }
    return Alert(**{**values, **changes})


class Receiver(ThreadingHTTPServer):
    """A web server that remembers what was posted, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        super().__init__(("127.0.0.1", 0), _Page)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"


class _Page(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hold.wait(20)
        self.server.posted.append((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.posted.append((self.path, {}, b""))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()


def test_log_sink_writes_one_line_that_no_client_can_forge(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "mlsecops.alerts"):
        LogSink()(alert())
        LogSink(logging.getLogger("mlsecops.alerts"))(alert(severity=Severity.CRITICAL))
    high, critical = caplog.records
    assert (high.levelno, critical.levelno) == (logging.ERROR, logging.CRITICAL)
    assert "\n" not in high.getMessage()
    assert json.loads(high.getMessage())["client"] == FORGED


def test_event_sink_emits_a_log_event_by_the_names_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs, "get_logger", provider.get_logger)
    raised = alert(client=None)
    EventSink()(raised)
    (finished,) = exporter.get_finished_logs()
    record = finished.log_record
    assert (record.event_name, record.severity_number) == ("mlsecops.alert", SeverityNumber.ERROR)
    assert record.timestamp == int(raised.at.timestamp() * 10**9)
    assert record.body == raised.message
    assert record.attributes == {
        "mlsecops.monitor": "fraud",
        "mlsecops.alert.rule": "query-rate",
        "mlsecops.alert.severity": "high",
        "mlsecops.alert.reading": 120.0,
        "mlsecops.alert.threshold": 100.0,
        "mlsecops.alert.window": "last minute",
        "mlsecops.model.digest": raised.digest,
        "mlsecops.alert.atlas": "AML.T0034",
        "mlsecops.alert.state": "firing",
        "mlsecops.alert.id": raised.id,
    }


def test_webhook_posts_the_alert_with_a_mark_of_who_wrote(receiver: Receiver) -> None:
    sink = WebhookSink(receiver.url, secret=b"key", headers={"X-Team": "ml"})
    sink(alert())
    assert sink.flush(10)
    ((path, headers, body),) = receiver.posted
    assert (path, headers["X-Team"]) == ("/alerts", "ml")
    assert json.loads(body) == alert(at=datetime.fromisoformat(json.loads(body)["at"])).to_dict()
    mark = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert headers["X-Mlsecops-Signature"] == f"sha256={mark}"


def test_webhook_tries_again_and_counts_what_it_gives_up(receiver: Receiver) -> None:
    sink = WebhookSink(receiver.url)
    sink._pauses = (0.0, 0.0)
    receiver.statuses = [500, 503, 200]
    sink(alert())
    assert sink.flush(10)
    assert (len(receiver.posted), sink.undelivered) == (3, 0)
    receiver.statuses = [500, 500, 500]
    sink(alert())
    assert sink.flush(10)
    assert sink.undelivered == 1


def test_webhook_posts_no_alert_again_that_was_taken(receiver: Receiver) -> None:
    receiver.statuses = [200, 200, 503, 200]
    sink = WebhookSink(receiver.url, labels={"env": "prod"})
    sink._pauses = (0.01, 0.01)
    for rule in ("one", "two", "three"):
        sink(alert(rule=rule, labels={"team": "fraud"}))
    assert sink.flush(10)
    bodies = [json.loads(body) for _, _, body in receiver.posted]
    assert [body["rule"] for body in bodies] == ["one", "two", "three", "three"]
    assert bodies[0]["labels"] == {"team": "fraud", "env": "prod"}
    assert (bodies[0]["state"], bodies[2]["id"]) == ("firing", bodies[3]["id"])
    for wrong in ({"monitor": "x"}, {"a-b": "x"}, {"a": 1}, "team"):
        with pytest.raises(UsageError, match="labels"):
            WebhookSink(receiver.url, labels=wrong)  # type: ignore[arg-type] # wrong on purpose


def test_alertmanager_holds_an_alert_beyond_its_cooldown_and_ends_a_resolved_one(
    receiver: Receiver,
) -> None:
    sink = AlertmanagerSink(receiver.url, labels={"cluster": "eu"})
    raised = alert(rule="extraction")
    over = alert(rule="extraction", state="resolved", started_at=raised.at)
    for each in (raised, over):
        sink(each)
        assert sink.flush(10)
    first, second = (json.loads(body)[0] for _, _, body in receiver.posted)
    cooldown = next(rule.cooldown for rule in DEFAULT_RULES if rule.id == "extraction")
    lasts = datetime.fromisoformat(first["endsAt"]) - raised.at
    assert lasts.total_seconds() >= cooldown
    assert datetime.fromisoformat(second["endsAt"]) == over.at
    assert (first["labels"], first["startsAt"]) == (second["labels"], second["startsAt"])
    assert first["labels"]["cluster"] == "eu"
    assert sink.renews  # so that a lasting alert is posted again before it ends


def test_alert_follows_no_redirection(receiver: Receiver) -> None:
    sink = WebhookSink(receiver.url)
    sink._pauses = ()
    receiver.statuses = [302]
    sink(alert())
    assert sink.flush(10)
    assert [path for path, *_ in receiver.posted] == ["/alerts"]
    assert sink.undelivered == 1


def test_secret_in_an_address_or_an_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("https://pager/services/hunter2")

    dead = WebhookSink(f"http://127.0.0.1:{free_port()}/services/hunter2")
    dead._pauses = ()
    for sink in (dead, QueuedSink(fail, pauses=())):
        sink(alert())
        assert sink.flush(10)
        assert sink.undelivered == 1
    assert caplog.text.count("1 alerts undelivered") == 2
    assert "hunter2" not in caplog.text


def test_receiver_that_hangs_does_not_blind_the_monitoring(receiver: Receiver) -> None:
    receiver.hold.clear()
    sink = WebhookSink(receiver.url)
    predict = monitored("hang", capacity=4, sinks=[sink], client=lambda x: f"c{x}")(lambda x: x)
    predict.monitor._lock.acquire()
    for i in range(10):
        predict(i)
    predict.monitor._lock.release()
    assert predict.monitor.flush(0.5)  # the alert still hangs, the counting is done
    state = predict.monitor.snapshot()
    assert (state.processed, [each.rule for each in state.alerts]) == (4, ["dropped"])
    receiver.hold.set()
    assert sink.flush(10)
    assert len(receiver.posted) == 1
    predict.monitor.close()


def test_alert_of_the_last_call_is_delivered_before_the_process_ends(receiver: Receiver) -> None:
    code = """
import sys
from mlsecops.monitoring import WebhookSink, monitored
predict = monitored("ending", capacity=1, sinks=[WebhookSink(sys.argv[1])])(lambda x: x)
predict.monitor._lock.acquire()
for _ in range(5): predict(1)
predict.monitor._lock.release()
"""
    command = [sys.executable, "-c", code, receiver.url]
    subprocess.run(command, check=True, timeout=30, env={**os.environ, "PYTHONPATH": "."})
    assert [json.loads(body)["rule"] for *_, body in receiver.posted] == ["dropped"]


def test_flood_of_alerts_is_bounded_and_counted() -> None:
    hold, delivered = threading.Event(), []
    sink = QueuedSink(lambda some: (hold.wait(10), delivered.extend(some)), capacity=10)
    for _ in range(100):
        sink(alert())
    hold.set()
    assert sink.flush(10)
    assert len(delivered) + sink.undelivered == 100
    assert len(delivered) <= 10 + 64


def test_forked_child_delivers_its_own_alerts_and_not_its_parents() -> None:
    hold, delivered = threading.Event(), []
    sink = QueuedSink(lambda some: (hold.wait(10), delivered.extend(some)))
    for _ in range(5):
        sink(alert())
    child = os.fork()
    if child == 0:
        hold.set()
        sink(alert(rule="own"))
        sink.flush(5)
        os._exit(0 if [each.rule for each in delivered] == ["own"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    hold.set()
    assert sink.flush(10)
    assert len(delivered) == 5


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://host/", "https:///nowhere"])
@pytest.mark.parametrize("kind", [WebhookSink, AlertmanagerSink])
def test_address_that_is_not_of_the_web_is_refused(
    kind: type[WebhookSink | AlertmanagerSink], url: str
) -> None:
    with pytest.raises(UsageError, match="expected http"):
        kind(url)


def test_alertmanager_shows_a_drifted_models_alerts(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG)
    checked = [program("amtool"), "check-config", str(config)]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0
    with alertmanager(config, tmp_path / "data") as address:
        sink = AlertmanagerSink(address)
        predict = monitored("served", capacity=2, sinks=[sink])(lambda x: x)
        predict.monitor._lock.acquire()
        for _ in range(9):
            predict(np.ones(2))
        predict.monitor._lock.release()
        assert predict.monitor.flush(10)
        sink(alert())
        assert sink.flush(10)
        found: dict[str, Any] = {}

        def arrived() -> bool:
            with urllib.request.urlopen(f"{address}/api/v2/alerts") as answer:  # noqa: S310 - loopback
                found.update({each["labels"]["rule"]: each for each in json.load(answer)})
            return len(found) == 2

        eventually(arrived, "two alerts in Alertmanager")
        predict.monitor.close()
    assert sink.undelivered == 0
    assert found["dropped"]["labels"] == {
        "alertname": "MlsecopsDropped",
        "monitor": "served",
        "rule": "dropped",
        "severity": "high",
    }
    assert found["query-rate"]["labels"]["client"] == FORGED
    assert found["query-rate"]["annotations"]["digest"] == alert().digest
