"""Probes of garak, run as a separate process.

`run_garak` → process of garak → report → `read_garak_report` → `ClassFigure`s for a
`mlsecops.llm.FuzzGate`. The exit status of garak is no verdict: it is 0 even if probes succeeded.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops._files import open_private, private_folder
from mlsecops._json import parse_object
from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError
from mlsecops.llm import ClassFigure

__all__ = ["GarakReport", "read_garak_report", "run_garak"]

_REPORT: Final = "garak.report.jsonl"
_LOG: Final = "garak.log"
_LONGEST_LINE: Final = 64 << 20  # bytes of a row; chosen
_SHOWN: Final = 400  # characters of garak's last lines in a message; chosen
_LINES: Final = 3  # lines of them; chosen: after the reason it may print how long it ran


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class GarakReport:
    """Results of a garak run.

    Attributes:
        version: Version of garak; "" if the report has none.
        figures: A class `"probe/detector"` for each pair: successes are outputs that the detector
            flags, errors those that it could not evaluate.
    """

    version: str
    figures: tuple[ClassFigure, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"garak": self.version, "classes": [each.to_dict() for each in self.figures]}


@checked
def run_garak(
    program: str | os.PathLike[str],
    *,
    target_type: str,
    target_name: str,
    probes: Sequence[str] = (),
    spec: str | None = None,
    out: str | os.PathLike[str],
    seed: int = 0,
    generations: int | None = None,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> GarakReport:
    """Run probes of garak against a target.

    Args:
        program: Executable `garak` (0.13 or newer), or the Python of its environment.
        target_type: garak's generator, such as `"openai.OpenAICompatible"`.
        target_name: Name of the model.
        probes: Probes or modules of probes, such as `"dan.Dan_11_0"` or `"encoding"`; `"all"`
            takes all that are active.
        spec: garak's selection in place of probes, such as `"tag:owasp:llm01"` (0.15.1 or newer).
        out: Folder for report and log, without a report yet.
        seed: Seed of garak.
        generations: Outputs for each prompt; by default garak's number.
        arguments: Further command-line arguments of garak.
        environment: Environment variables of the process; by default those of this one.
        timeout: Seconds after which the process and its children are killed.

    Raises:
        UsageError: garak cannot be started, fails or does not finish, evaluates nothing, or its
            report lacks a probe; the message has its last words.

    Source: garak 0.17.1, `garak/cli.py` and `garak/command.py`.
    """
    folder = Path(out).absolute()
    report = folder / _REPORT
    if report.exists():
        raise UsageError(f"out: expected a folder without a report, got {report}; name another")
    if bool(probes) == bool(spec):
        got = "both" if spec else "none"
        raise UsageError(f"probes: expected at least one, or a spec in their place, got {got}")
    named = Path(program)
    start = [str(named), *(["-m", "garak"] if named.name.startswith("python") else [])]
    words = [
        *("--target_type", target_type),
        *("--target_name", target_name),
        *(("--spec", spec) if spec else ("--probes", ",".join(probes))),
        *("--seed", str(seed)),
        *("--report_prefix", str(folder / _REPORT.removesuffix(".report.jsonl"))),
        *(() if generations is None else ("--generations", str(generations))),
    ]
    _run([*start, *words, *arguments], folder / _LOG, environment, timeout)
    try:
        found = read_garak_report(report)
        _require_probes(found, probes, report)
    except UsageError as error:
        raise UsageError(f"{error}; garak's last words: {_last_line(folder / _LOG)}") from error
    return found


@checked
def read_garak_report(path: str | os.PathLike[str]) -> GarakReport:
    """Read a report of garak.

    Args:
        path: `….report.jsonl`.

    Raises:
        UsageError: It is unreadable, malformed, empty, or of an unfinished run.

    Source: garak's documentation, "Reporting"; garak 0.17.1, `garak/evaluators/base.py`.
    """
    version, ended = "", False
    figures: dict[str, ClassFigure] = {}
    for row in _rows(Path(path)):
        kind = row.get("entry_type")
        if kind == "init":
            version = str(row.get("garak_version", ""))
        ended = ended or kind == "completion"
        if kind == "eval":
            figure = _figure(row, path)
            if figure.name in figures:
                raise UsageError(f"{path}: expected one evaluation of {figure.name}, got two")
            figures[figure.name] = figure
    if not figures:
        raise UsageError(f"{path}: expected evaluations, got none; see {_LOG} in its folder")
    if not ended:
        raise UsageError(f"{path}: expected a finished run, got no completion; run garak again")
    return GarakReport(version=version, figures=tuple(figures.values()))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                yield parse_object(line, what=f"{path}: line of a garak report", error=UsageError)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _figure(row: Mapping[str, Any], path: object) -> ClassFigure:
    """Figure of an evaluation: `total` until garak 0.13, `total_evaluated` and `fails` since."""
    probe, detector = row.get("probe"), row.get("detector")
    passed, nones = row.get("passed"), row.get("nones", 0)
    total = row.get("total_evaluated", row.get("total"))
    counts = (passed, nones, total)
    if not (isinstance(probe, str) and isinstance(detector, str)):
        raise UsageError(f"{path}: expected a probe and a detector in each evaluation")
    if not all(type(count) is int and count >= 0 for count in counts) or passed > total:
        raise UsageError(f"{path}: {probe}: expected counts with passed <= total, got {counts}")
    if row.get("fails", total - passed) != total - passed:
        raise UsageError(f"{path}: {probe}: {row['fails']} fails are not {total} less {passed}")
    return ClassFigure(
        name=f"{probe}/{detector}",
        attempts=total + nones,
        successes=total - passed,
        errors=nones,
    )


def _require_probes(report: GarakReport, probes: Sequence[str], path: Path) -> None:
    ran = [figure.name.partition("/")[0] for figure in report.figures]
    for probe in probes:
        asked = probe.removeprefix("probes.")
        if asked == "all":  # without an evaluation there is no report
            continue
        if not any(name == asked or name.startswith(f"{asked}.") for name in ran):
            raise UsageError(f"{path}: expected an evaluation of probe {probe}, got none")


def _run(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None, timeout: float | None
) -> None:
    try:
        private_folder(log.parent)  # prompts and answers may hold secrets
        with os.fdopen(open_private(log, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - the program is the caller's
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )
            status = _ended(process, timeout)
    except OSError as error:
        raise UsageError(f"cannot run {command[0]}: {error.strerror}") from error
    if status is None:
        raise UsageError(f"garak did not finish within {timeout} s: see {log}")
    if status:
        raise UsageError(f"garak ended with status {status}: {_last_line(log)}; see {log}")


def _ended(process: subprocess.Popen[bytes], timeout: float | None) -> int | None:
    """Exit status; None if the process and its children had to be killed."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(log: Path) -> str:
    """The last lines of garak's output that say something."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    said = [line.strip() for line in lines if any(map(str.isalnum, line))][-_LINES:] or ["no word"]
    text = " | ".join(said)
    return "".join(each if each.isprintable() else " " for each in text)[-_SHOWN:].strip()
