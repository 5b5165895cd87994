"""garak's report becomes figures of ours; a run that proves nothing is an error.

No garak runs here: the rows are written as garak 0.17.1's sources write them, by a program that
takes the same arguments.
"""

from __future__ import annotations

import json
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlsecops._intervals import wilson
from mlsecops.errors import UsageError
from mlsecops.integrations.garak import read_garak_report, run_garak
from mlsecops.llm import FuzzGate

INIT = {"entry_type": "init", "garak_version": "0.17.1", "start_time": "…", "run": "0"}
SETUP = {"entry_type": "start_run setup", "run.seed": 7}
ATTEMPT = {"entry_type": "attempt", "uuid": "…", "status": 2, "prompt": {}, "outputs": ["\x1b[2J"]}
SUMMARY = {"entry_type": "probe_summary", "probe": "dan.Dan_11_0"}
END = {"entry_type": "completion", "end_time": "…", "run": "0"}
DIGEST = {"entry_type": "digest", "meta": {}}


def evaluation(
    probe: str = "dan.Dan_11_0", *, passed: int = 15, fails: int = 5, nones: int = 0, **more: Any
) -> dict[str, Any]:
    return {
        "entry_type": "eval",
        "probe": probe,
        "detector": "dan.DAN",
        "passed": passed,
        "fails": fails,
        "nones": nones,
        "total_evaluated": passed + fails,
        "total_processed": passed + fails + nones,
        **more,
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
    return path


def report(path: Path, *evaluations: dict[str, Any]) -> Path:
    return write(path / "r.jsonl", SETUP, INIT, ATTEMPT, *evaluations, SUMMARY, END, DIGEST)


def test_evaluations_become_classes_with_our_interval(tmp_path: Path) -> None:
    found = read_garak_report(
        report(tmp_path, evaluation(), evaluation("encoding.InjectHex", passed=9, fails=0, nones=1))
    )
    assert found.version == "0.17.1"
    first, second = found.figures
    assert (first.name, first.attempts, first.successes, first.errors) == (
        "dan.Dan_11_0/dan.DAN", 20, 5, 0,
    )  # fmt: skip
    assert first.interval == wilson(5, 20)
    assert (second.attempts, second.successes, second.errors) == (10, 0, 1)
    assert [each["class"] for each in found.to_dict()["classes"]] == [
        "dan.Dan_11_0/dan.DAN",
        "encoding.InjectHex/dan.DAN",
    ]


def test_rows_of_older_versions_are_read_too(tmp_path: Path) -> None:
    row = {"entry_type": "eval", "probe": "p.P", "detector": "d.D", "passed": 3, "total": 4}
    (figure,) = read_garak_report(report(tmp_path, row)).figures
    assert (figure.attempts, figure.successes, figure.errors) == (4, 1, 0)


def test_a_gate_judges_them_as_our_own(tmp_path: Path) -> None:
    for row, verdict in (
        (evaluation(passed=20, fails=0), "pass"),
        (evaluation(), "fail"),
        (evaluation(passed=20, fails=0, nones=1), "inconclusive"),
    ):
        judgement = FuzzGate().judge(read_garak_report(report(tmp_path, row)))
        assert judgement.verdict == verdict
    assert (
        FuzzGate(max_success=0.6).judge(read_garak_report(report(tmp_path, evaluation()))).verdict
        == "pass"
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((INIT, END), "expected evaluations, got none"),
        ((), "expected evaluations, got none"),
        ((INIT, evaluation()), "expected a finished run"),
        ((evaluation(), evaluation(), END), "got two"),
        ((evaluation(passed=-1), END), "expected counts"),
        ((evaluation(nones=-1), END), "expected counts"),
        ((evaluation(total_evaluated=3), END), "expected counts"),
        ((evaluation(total_evaluated="20"), END), "expected counts"),
        ((evaluation(fails=4, total_evaluated=20), END), "4 fails are not 20 less 15"),
        ((evaluation(probe=None), END), "expected a probe and a detector"),  # type: ignore[arg-type] # the point
        (({**evaluation(), "passed": True}, END), "expected counts"),
    ],
)
def test_a_report_that_proves_nothing_is_refused(
    tmp_path: Path, rows: tuple[dict[str, Any], ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_garak_report(write(tmp_path / "r.jsonl", *rows))


@pytest.mark.parametrize("data", [b"{\n", b"7\n", b"\xff\n", b"[" * 100_000, None])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "r.jsonl").write_bytes(data)
    with pytest.raises(UsageError, match=r"r\.jsonl"):
        read_garak_report(tmp_path / "r.jsonl")


def stand_in(folder: Path, script: str) -> Path:
    """A program that takes garak's arguments; ``report`` is where garak would write."""
    program = folder / "garak"
    program.write_text(
        f"#!{sys.executable}\n"
        "import argparse, json, os, subprocess, sys, time\n"
        "parser = argparse.ArgumentParser()\n"
        "for name in ('target_type', 'target_name', 'probes', 'spec', 'seed', 'report_prefix',"
        " 'generations', 'parallel_attempts'):\n"
        "    parser.add_argument(f'--{name}')\n"
        "given = parser.parse_args()\n"
        "report = given.report_prefix + '.report.jsonl'\n"
        f"{script}\n"
    )
    program.chmod(0o755)
    return program


def rows_of(*rows: dict[str, Any]) -> str:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    return f"open(report, 'w').write({text!r})"


def start(program: Path, folder: Path, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "target_type": "openai.OpenAICompatible",
        "target_name": "m",
        "probes": ["dan.Dan_11_0"],
        "out": folder / "out",
    }
    return run_garak(program, **{**settings, **options})


def test_garak_is_started_with_a_seed_and_its_report_is_read(tmp_path: Path) -> None:
    script = (
        f"{rows_of(INIT, evaluation(), END)}\n"
        "print(json.dumps([vars(given), os.environ.get('KEY')]))"
    )
    found = start(
        stand_in(tmp_path, script), tmp_path, seed=7, generations=3,
        arguments=["--parallel_attempts", "8"], environment={"KEY": "k"},
    )  # fmt: skip
    assert found.figures[0].successes == 5
    log = tmp_path / "out" / "garak.log"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (log.parent, log)] == [0o700, 0o600]
    given, key = json.loads(log.read_text())
    assert key == "k"
    assert given == {
        "target_type": "openai.OpenAICompatible",
        "target_name": "m",
        "probes": "dan.Dan_11_0",
        "seed": "7",
        "spec": None,
        "report_prefix": str(tmp_path / "out" / "garak"),
        "generations": "3",
        "parallel_attempts": "8",
    }


def test_a_python_is_asked_for_the_module(tmp_path: Path) -> None:
    (tmp_path / "garak.py").write_text(stand_in(tmp_path, rows_of(evaluation(), END)).read_text())
    environment = {"PYTHONPATH": str(tmp_path)}
    found = start(Path(sys.executable), tmp_path, environment=environment)
    assert found.figures[0].attempts == 20


def test_success_of_the_process_without_evaluations_is_an_error(tmp_path: Path) -> None:
    """Garak leaves with status 0 whatever happened."""
    with pytest.raises(UsageError, match="cannot read"):
        start(stand_in(tmp_path, "pass"), tmp_path)
    with pytest.raises(UsageError, match="expected evaluations, got none"):
        start(stand_in(tmp_path, rows_of(INIT, END)), tmp_path)


def test_a_probe_that_did_not_run_is_an_error(tmp_path: Path) -> None:
    program = stand_in(tmp_path, rows_of(evaluation(), END))
    assert start(program, tmp_path, probes=["dan"], out=tmp_path / "a").figures
    assert start(program, tmp_path, probes=["probes.dan.Dan_11_0"], out=tmp_path / "b").figures
    with pytest.raises(UsageError, match="evaluation of probe encoding, got none"):
        start(program, tmp_path, probes=["dan", "encoding"], out=tmp_path / "c")
    with pytest.raises(UsageError, match="at least one"):
        start(program, tmp_path, probes=[], out=tmp_path / "d")


def test_a_report_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    program = stand_in(tmp_path, rows_of(evaluation(), END))
    start(program, tmp_path)
    with pytest.raises(UsageError, match="without a report"):
        start(program, tmp_path)


def test_a_garak_that_fails_or_is_not_there_is_named(tmp_path: Path) -> None:
    script = "sys.stderr.write('no such\\x1b[2J target\\n'); sys.exit(3)"
    with pytest.raises(UsageError, match=r"status 3: no such \[2J target; see .*garak\.log"):
        start(stand_in(tmp_path, script), tmp_path)
    with pytest.raises(UsageError, match="cannot run"):
        start(tmp_path / "absent", tmp_path)


def test_a_garak_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    marker = tmp_path / "alive"
    child = f"import time; time.sleep(2); open({str(marker)!r}, 'w')"
    script = f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with pytest.raises(UsageError, match=r"did not finish within 1\.0 s"):
        start(stand_in(tmp_path, script), tmp_path, timeout=1.0)
    time.sleep(2.5)
    assert not marker.exists()


def test_all_probes_or_garak_s_own_selection_can_be_asked_for(tmp_path: Path) -> None:
    program = stand_in(tmp_path, rows_of(evaluation(), END))
    assert start(program, tmp_path, probes=["all"], out=tmp_path / "a").figures
    assert start(program, tmp_path, probes=[], spec="tag:owasp:llm01", out=tmp_path / "b").figures
    with pytest.raises(UsageError, match="got both"):
        start(program, tmp_path, probes=["all"], spec="tag:owasp:llm01", out=tmp_path / "c")


def test_a_garak_that_evaluates_nothing_is_quoted(tmp_path: Path) -> None:
    script = "print('target is not reachable'); print('\\u2714')"
    with pytest.raises(UsageError, match=r"last words: target is not reachable$"):
        start(stand_in(tmp_path, script), tmp_path)
