"""Comparisons are fair: contestants take turns, and the figures are what they say."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as runner
from benchmarks.__main__ import machine, names
from benchmarks.measure import Comparison, compare, table


def test_contestants_take_turns_and_each_round_starts_with_another() -> None:
    order: list[str] = []
    compare(
        "job",
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        ours="a",
        rounds=3,
    )
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_the_round_that_warms_up_is_not_counted() -> None:
    moments = iter([0.0, 1.0, 1.0, 3.0])
    found = compare("job", {"a": int, "b": int}, ours="a", rounds=1, clock=lambda: next(moments))
    assert found.seconds == {"a": (1.0,), "b": (2.0,)}
    assert found.rounds == 1


def test_a_ratio_is_of_medians_and_an_outlier_does_not_move_it() -> None:
    found = Comparison(what="job", ours="a", seconds={"a": (1.0, 1.0, 90.0), "b": (2.0, 2.0, 2.0)})
    assert found.ratio("b") == pytest.approx(0.5)
    assert found.spread("b") == (0.5, 45.0)
    assert "0.50" in table([found])
    assert "0.50–45.00" in table([found])


def test_the_runner_knows_its_benchmarks_and_names_no_machine() -> None:
    assert {"hashing", "loading", "attacks", "demo", "poisoning"} <= set(names())
    assert not {"measure", "fashion", "__main__"} & set(names())
    assert platform.node() not in machine()


def test_every_benchmark_listed_can_be_run_and_no_helper_is_listed(tmp_path: Path) -> None:
    (tmp_path / "compares.py").write_text("def comparisons(): ...\n")
    (tmp_path / "prints.py").write_text("def main(): ...\n")
    (tmp_path / "helps.py").write_text("class A:\n    def main(self): ...\n\ndef load(): ...\n")
    (tmp_path / "broken.py").write_text("raise SystemExit\ndef main(): ...\n")
    assert names(tmp_path) == ["broken", "compares", "prints"]


def test_a_benchmark_that_gives_up_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise SystemExit("no data set: install it")

    modules = {
        "benchmarks.first": SimpleNamespace(main=absent, __doc__="first"),
        "benchmarks.second": SimpleNamespace(comparisons=lambda: iter(["a comparison"])),
    }
    monkeypatch.setattr(runner, "import_module", modules.__getitem__)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    found, gave_up = runner.run(["first", "second"])
    assert found == ["a comparison"]
    assert gave_up == ["first: no data set: install it"]
