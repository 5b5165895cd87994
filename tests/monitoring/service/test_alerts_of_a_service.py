"""Alerts of a service: one process reports each, however many see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlsecops.findings import Alert, Severity
from mlsecops.monitoring import AlertRule, Reading
from mlsecops.monitoring.alerts.alerting import Alerting
from mlsecops.monitoring.service.alert_table import AlertTable
from mlsecops.monitoring.service.folder import ServiceFolder
from mlsecops.monitoring.telemetry import metrics as telemetry
from tests.monitoring.service.conftest import Member

RULE = AlertRule(
    id="own",
    metric=telemetry.CLIENT_RATE.name,
    comparison=">",
    threshold=1,
    severity=Severity.LOW,
    message="m",
    cooldown=60,
)


def test_alert_that_every_process_sees_is_reported_and_counted_once(
    member: Callable[[], Member],
) -> None:
    said: list[str] = []
    for each in (member(), member(), member()):
        said += each.do("rows", "same", 1, 3, 512)
        said += each.do("settle", "same")
    drifted = [line.split() for line in said if line.startswith("alert drift")]
    assert [words[2] for words in drifted] == ["firing"]


def test_last_process_that_sees_an_alert_resolves_it(tmp_path: Path) -> None:
    first, second = (AlertTable(ServiceFolder(str(tmp_path))) for _ in range(2))
    assert first.begin("a", "m", {}, 100.0)
    assert not second.begin("a", "m", {}, 100.0)
    assert not first.end("a")
    assert second.end("a")
    assert first.begin("a", "m", {}, 100.0)


def test_alert_of_a_dead_process_is_resolved_by_another_when_its_time_is_over(
    folder: Path,
) -> None:
    now, told = [0.0], list[Alert]()

    def engine(sink: list[Alert]) -> Alerting:
        return Alerting(
            [RULE],
            [sink.append],
            monitor="orphan",
            digest=None,
            clock=lambda: now[0],
            failed=lambda: None,
        )

    dying, other = engine([]), engine(told)
    assert len(dying.consider([Reading(metric=telemetry.CLIENT_RATE, value=2, window="w")])) == 1
    del dying
    now[0] = 359.0
    other.tick()
    assert told == []
    now[0] = 361.0
    other.tick()
    (resolved,) = told
    assert (resolved.state, resolved.rule, resolved.reading) == ("resolved", "own", 2)
    assert resolved.started_at is not None
    assert resolved.started_at.timestamp() == 0
    other.tick()
    assert len(told) == 1
    assert (folder / "mlsecops.alerts").exists()


def test_table_that_is_damaged_reports_an_alert_rather_than_none(tmp_path: Path) -> None:
    table = AlertTable(ServiceFolder(str(tmp_path)))
    table.begin("a", "m", {}, 100.0)
    odd = b'{"a": {"monitor": "m", "alert": {}, "until": {"x": []}}}'
    for damage in (b"", b"[]", b'{"a": {"monitor": 3}}', b'{"a": 1}', odd, b"\xff"):
        (tmp_path / "mlsecops.alerts").write_bytes(damage)
        assert table.begin("a", "m", {}, 100.0)
