"""Numbers of a service: one page has what all its processes counted, dead ones too."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import monitored
from mlsecops.errors import FormatRefused
from mlsecops.integrations.live import LiveDashboard
from mlsecops.monitoring import Baseline
from mlsecops.monitoring.instruments import collected
from mlsecops.monitoring.service import processes
from mlsecops.monitoring.service.folder import ServiceFolder, service_folder
from mlsecops.monitoring.service.processes import archive_ended, read_others
from mlsecops.monitoring.service.state import ProcessState
from mlsecops.monitoring.service.tally import open_tally, read_tally
from mlsecops.monitoring.service_view import service_snapshot
from tests.monitoring.service.conftest import Member
from tests.services import eventually

ROWS = np.random.default_rng(0).normal(size=(600, 3))


def page(monitor: str) -> dict[str, dict[tuple[str, ...], Any]]:
    """Points of one monitor by the metric's name, as this process exports them."""
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for metric, points in collected():
        own = {key[1:]: value for key, value in points if key[0] == monitor}
        if own:
            found[metric.name] = own
    return found


def calls(monitor: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for (outcome, _), value in page(monitor)["mlsecops.inference.calls"].items():
        counted[outcome] += int(value)
    return +counted  # without zeros


def test_page_of_any_process_has_the_calls_of_all_living_and_dead(
    member: Callable[[], Member],
) -> None:
    own = monitored("whole")(lambda x: x)
    for _ in range(3):
        own(1)
    living, ended, killed = member(), member(), member()
    living.do("calls", "whole", 5, "ok")
    ended.do("calls", "whole", 7, "ok")
    ended.end()
    # Nothing waits for its worker: what the last calls left is in the mapped file alone.
    killed.do("calls", "whole", 11, "ok")
    killed.do("calls", "whole", 2, "error")
    killed.kill()
    assert calls("whole") == {"ok": 26, "error": 2}
    living.do("settle", "whole")
    known = page("whole")
    dropped = sum(known["mlsecops.monitor.dropped"].values())
    processed = sum(known["mlsecops.monitor.processed"].values())
    assert dropped + processed == 28
    (duration,) = known["mlsecops.inference.duration"].values()
    assert duration.count == processed
    own.monitor.close()


def test_counters_of_the_page_never_fall_while_processes_come_and_go(
    member: Callable[[], Member], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_MOST_ENDED", 1)
    sent = 0
    for number in range(3):
        one = member()
        one.do("calls", "coming", 5, "ok")
        sent += 5
        assert calls("coming")["ok"] == sent
        if number % 2:
            one.do("settle", "coming")
        one.kill()
        assert calls("coming")["ok"] == sent
    assert calls("coming")["ok"] == sent
    assert len(list(folder.glob("mlsecops-[0-9]*.lock"))) <= 2
    assert (folder / "mlsecops-ended.state").exists()


def test_process_that_dies_while_it_archives_counts_nothing_twice(
    member: Callable[[], Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member()
    one.do("calls", "archived", 5, "ok")
    one.kill()
    folder = service_folder()
    assert folder is not None
    with monkeypatch.context() as patched:
        patched.setattr(ServiceFolder, "remove", lambda *_: None)
        archive_ended(folder)
    assert calls("archived") == {"ok": 5}
    archive_ended(folder)
    assert calls("archived") == {"ok": 5}
    assert [each.name for each in read_others(folder)] == ["mlsecops-ended"]


def test_drift_is_that_of_the_joined_traffic(member: Callable[[], Member]) -> None:
    baseline = Baseline.fit(ROWS)
    predict = monitored("joined", baseline=baseline, client=lambda _: "here")(lambda _: None)
    parts = [np.random.default_rng(each).normal(2 * each, 1, (256, 3)) for each in range(2)]
    predict(parts[0])
    assert page("joined")["mlsecops.drift.features"] == {(): 0}
    other = member()
    other.do("rows", "joined", 1, 2, 256)
    other.do("settle", "joined")
    known = page("joined")
    whole = baseline.drift(baseline.profile().update(np.concatenate(parts)))
    for name, each in whole.features.items():
        assert known["mlsecops.drift"][name, "ks"] == pytest.approx(each.ks)
    assert known["mlsecops.drift.features"] == {(): 3}
    flags = np.any(list(baseline.anomalies.flags(np.concatenate(parts), None).values()), axis=0)
    assert known["mlsecops.input.anomaly.ratio"] == {(): pytest.approx(flags.mean())}
    assert known["mlsecops.monitor.clients"] == {(): 2}
    # A process that died has no recent traffic, but its rows were rows.
    other.kill()
    assert page("joined")["mlsecops.input.rows"] == {(): 512}
    assert page("joined")["mlsecops.drift.features"] == {(): 0}
    predict.monitor.close()


def test_label_finds_its_prediction_in_whichever_process_it_arrives(
    member: Callable[[], Member],
) -> None:
    first, second, third = member(), member(), member()
    first.do("predict", "late", 0, 60)
    second.do("predict", "late", 60, 100)
    third.do("label", "late", 0, 80)
    first.do("label", "late", 80, 110)

    def outcomes() -> dict[str, float]:
        for each in (third, first, second, first):
            each.do("settle", "late")
        known = page("late")
        return {key[0]: value for key, value in known["mlsecops.model.labels"].items()}

    eventually(lambda: outcomes()["matched"] == 100, "every label with its prediction")
    # Ten labels have no prediction anywhere; 80 + 20 came to a process that had not predicted.
    assert outcomes() == {"matched": 100, "unknown": 0, "forwarded": 110}
    assert page("late")["mlsecops.model.accuracy"] == {(): pytest.approx(0.8)}


def test_live_page_is_about_all_processes(member: Callable[[], Member]) -> None:
    predict = monitored("live", baseline=Baseline.fit(ROWS), client=lambda _: "here")(
        lambda _: None
    )
    predict(ROWS[:64])
    other = member()
    other.do("rows", "live", 1, 3, 512)
    other.do("settle", "live")
    state = service_snapshot(predict.monitor)
    assert (state["calls"], state["processed"], state["processes"]) == (2, 2, 2)
    assert set(state["drift"]["drifted"]) == {"f0", "f1", "f2"}
    assert "drift" in {alert["rule"] for alert in state["alerts"]}
    with LiveDashboard(predict.monitor) as page:
        assert "of 2 processes" in page.page()
        assert page.newest()["calls"] == 2
    predict.monitor.close()


def test_monitor_that_only_another_process_has_is_on_the_page(member: Callable[[], Member]) -> None:
    other = member()
    other.do("rows", "elsewhere", 1, 3, 512)
    other.do("settle", "elsewhere")
    known = page("elsewhere")
    assert known["mlsecops.drift.features"] == {(): 3}
    assert known["mlsecops.input.rows"] == {(): 512}


def test_damaged_state_is_reported_and_not_counted(
    member: Callable[[], Member], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = member()
    other.do("calls", "damaged", 5, "ok")
    other.do("settle", "damaged")
    other.kill()
    (state,) = folder.glob("mlsecops-[0-9]*.state")
    state.write_bytes(state.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING, "mlsecops.monitoring"):
        # The calls are known from the mapped file, what they were is not.
        assert calls("damaged") == {"ok": 5}
    assert "left out" in caplog.text
    for data in (b"", b"pickle", state.read_bytes()):
        with pytest.raises(FormatRefused):
            ProcessState.from_bytes(data)


def test_tally_outlives_its_writer_and_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.calls"
    written = open_tally(path, "naïve \udce9 name")
    written[0] += 3
    written[2] += 1
    assert read_tally(path) == ("naïve \udce9 name", (3, 0, 1))
    path.write_bytes(b"short")
    assert read_tally(path) is None
    assert read_tally(tmp_path / "absent") is None


def test_folder_that_cannot_be_used_leaves_each_process_its_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file" / "inside"))
    predict = monitored("without")(lambda x: x)
    with caplog.at_level(logging.WARNING, "mlsecops.monitoring"):
        predict(1)
    assert calls("without") == {"ok": 1}
    assert predict.monitor.snapshot().failures == 0
    assert "each process alone" in caplog.text
    predict.monitor.close()
