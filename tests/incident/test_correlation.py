"""Alerts of one cause, and deadlines of what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mlsecops.errors import UsageError
from mlsecops.findings import Alert
from mlsecops.incident import Incident, Playbook
from mlsecops.registry import Registry
from tests.incident.conftest import AT


def finished(incident: Incident) -> None:
    playbook = Playbook.default(remediate=lambda _: None, validate=lambda *_: None)
    playbook.run(incident, approve=lambda _: True)
    assert incident.state == "closed"


def test_further_alerts_of_an_open_incident_are_recorded_in_it(
    alert: Alert, registry: Registry
) -> None:
    first = Incident.open(alert, registry=registry)
    later = replace(alert, at=AT + timedelta(minutes=5), reading=9.0)
    assert [Incident.open(later, registry=registry).id for _ in range(2)] == [first.id] * 2
    assert [each["reading"] for each in first.alerts] == [9.0]
    for other in ({"rule": "query-rate"}, {"client": "trudy"}, {"digest": None}):
        assert Incident.open(replace(alert, **other), registry=registry).id != first.id  # type: ignore[arg-type]


def test_no_more_alerts_are_recorded_than_say_something(
    alert: Alert, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.incident.incident._MOST_ALERTS", 3)
    incident = Incident.open(alert, registry=registry)
    for minute in range(1, 6):
        Incident.open(replace(alert, at=AT + timedelta(minutes=minute)), registry=registry)
    assert len(incident.alerts) == 3


def test_an_alert_after_the_closing_is_another_incident(alert: Alert, registry: Registry) -> None:
    first = Incident.open(alert, registry=registry)
    finished(first)
    assert Incident.open(alert, registry=registry).id == first.id
    over = replace(alert, at=AT + timedelta(hours=1), state="resolved")
    assert Incident.open(over, registry=registry).id == first.id
    second = Incident.open(replace(alert, at=AT + timedelta(hours=2)), registry=registry)
    assert (second.id != first.id, second.state) == (True, "open")
    assert (
        Incident.open(replace(alert, at=AT + timedelta(hours=3)), registry=registry).id == second.id
    )


def test_alerts_without_a_digest_belong_to_their_monitor(alert: Alert, registry: Registry) -> None:
    bare = replace(alert, digest=None)
    ids = {Incident.open(replace(bare, monitor=name), registry=registry).id for name in ("a", "b")}
    assert len(ids) == 2


def test_a_text_that_is_no_unicode_is_kept(alert: Alert, registry: Registry) -> None:
    incident = Incident.open(replace(alert, client="mal\ud800lory"), registry=registry)
    assert incident.subject["client"] == "mal\\ud800lory"


def test_a_step_that_takes_too_long_is_late(alert: Alert, registry: Registry) -> None:
    now = [AT]
    incident = Incident.open(alert, registry=registry, clock=lambda: now[0])
    assert not any(deadline.late for deadline in incident.deadlines())
    now[0] += timedelta(hours=2)
    late = {deadline.step: deadline.late for deadline in incident.deadlines()}
    assert [step for step, is_late in late.items() if is_late] == ["isolate"]
    Playbook.default().run(incident)
    now[0] += timedelta(days=60)
    done = {deadline.step: deadline for deadline in incident.deadlines()}
    assert (done["isolate"].late, done["assess"].late, done["remediate"].late) == (
        True,
        False,
        True,
    )
    assert done["isolate"].done == AT + timedelta(hours=2)
    assert not incident.deadlines(hours={"isolate": 3})[0].late
    with pytest.raises(UsageError, match="hours"):
        incident.deadlines(hours={"isolate": 0})
