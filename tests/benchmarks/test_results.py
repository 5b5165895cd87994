"""Results page of the benchmarks: a section for each, and a reason where one was not reached."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.__main__ as runner
from tests.services import eventually


def test_a_benchmark_that_lasts_too_long_says_so(tmp_path: Path) -> None:
    assert runner.write_results(["imports"], tmp_path / "R.md", 0.01) == 1
    text = (tmp_path / "R.md").read_text()
    assert "## imports" in text
    assert "**Not reached:** not finished after" in text
    assert "mlsecops-sdk " in text


def test_what_was_printed_stays_and_children_end_with_the_time() -> None:
    child = "sleep 3600 & echo $!; wait"
    printed, failed = runner._captured(["sh", "-c", child], 0.5)
    assert failed == "not finished after 0.00833333 minutes"
    state = Path(f"/proc/{int(printed)}/stat")
    eventually(lambda: _ended(state), "the end of a killed child", patience=20)


def _ended(state: Path) -> bool:
    """True of a process that is gone or a zombie, some time after its signal."""
    try:
        return state.read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_that_fails_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in {"bad": "raise SystemExit('no data')", "good": "print('a figure')",
                       "killed": "import os; os.kill(os.getpid(), 9)"}.items():  # fmt: skip
        script = f'"""{name.title()} benchmark."""\ndef main():\n    {body}\n'
        (tmp_path / f"{name}.py").write_text(script)
    monkeypatch.setattr(runner, "HOME", tmp_path)
    starter = tmp_path / "start"
    starter.write_text('#!/bin/sh\nexec python3 -c "import $3 as m; m.main()"\n')
    starter.chmod(0o755)
    monkeypatch.setattr(runner.sys, "executable", str(starter))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert runner.write_results(["bad", "good", "killed"], tmp_path / "R.md", 60) == 1
    bad, good, killed = (tmp_path / "R.md").read_text().split("## ")[1:]
    assert "**Not reached:** no data" in bad
    assert "**Not reached:** it ended with -9" in killed
    assert "a figure" in good
    assert "Not reached" not in good
