"""garak's probes, run by garak in an environment of its own, and judged here.

`run_garak` starts garak as a process, `read_garak_report` reads the rows that it wrote; what comes
out are figures as of our own campaigns, with Wilson's interval, for a
`mlsecops.llm.FuzzGate`. garak is never imported, and its exit status, which is 0 whatever
it found, decides nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.errors import UsageError
from mlsecops.llm import ClassFigure

__all__ = ["GarakReport", "read_garak_report", "run_garak"]

_REPORT: Final = "garak.report.jsonl"
_LOG: Final = "garak.log"
_LONGEST_LINE: Final = 64 << 20  # bytes of a row
_TOLD: Final = 200  # characters of garak's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class GarakReport:
    """What garak measured.

    Attributes:
        version: Of garak, as it says; "" if it does not.
        figures: A class for each probe and detector, `"probe/detector"`: successes are outputs
            that the detector counts as hits, errors those that it could not judge.
    """

    version: str
    figures: tuple[ClassFigure, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"garak": self.version, "classes": [each.to_dict() for each in self.figures]}


def run_garak(
    program: str | os.PathLike[str],
    *,
    target_type: str,
    target_name: str,
    probes: Sequence[str],
    out: str | os.PathLike[str],
    seed: int = 0,
    generations: int | None = None,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> GarakReport:
    """Run probes of garak against a target.

    Args:
        program: The executable `garak` (0.13 or newer), or the Python of its environment.
        target_type: garak's generator, such as `"openai.OpenAICompatible"`.
        target_name: The model.
        probes: Probes or modules of them, such as `"dan.Dan_11_0"` or `"encoding"`.
        out: Folder for its report and its log; a report there already is refused.
        seed: Of garak's random numbers.
        generations: Outputs for each prompt; garak's own number by default.
        arguments: Further ones for garak, as it takes them.
        environment: Of the process, keys of services among it; this process's by default.
        timeout: Seconds after which it is ended with all its children.

    Raises:
        UsageError: garak cannot be started, fails or does not finish, or its report does not cover
            every probe that was asked for.

    Source:
        garak 0.17.1, `garak/cli.py` and `garak/command.py`.
    """
    folder = Path(out).absolute()
    report = folder / _REPORT
    if report.exists():
        raise UsageError(f"{report} exists already: name another folder")
    if not probes:
        raise UsageError("probes: expected at least one")
    named = Path(program)
    start = [str(named), *(["-m", "garak"] if named.name.startswith("python") else [])]
    words = [
        *("--target_type", target_type),
        *("--target_name", target_name),
        *("--probes", ",".join(probes)),
        *("--seed", str(seed)),
        *("--report_prefix", str(folder / _REPORT.removesuffix(".report.jsonl"))),
        *(() if generations is None else ("--generations", str(generations))),
    ]
    _run([*start, *words, *arguments], folder / _LOG, environment, timeout)
    found = read_garak_report(report)
    _require_probes(found, probes, report)
    return found


def read_garak_report(path: str | os.PathLike[str]) -> GarakReport:
    """Read a report that garak wrote.

    Args:
        path: `….report.jsonl`.

    Raises:
        UsageError: It cannot be read, is no report, holds no evaluation, contradicts itself, or is
            of a run that did not finish.

    Source:
        garak's documentation, "Reporting"; garak 0.17.1, `garak/evaluators/base.py`.
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
                raise UsageError(f"{path}: {figure.name} is evaluated twice")
            figures[figure.name] = figure
    if not figures:
        raise UsageError(f"{path}: garak evaluated nothing: see the log beside it")
    if not ended:
        raise UsageError(f"{path}: garak did not finish, so that the figures are not all there")
    return GarakReport(version=version, figures=tuple(figures.values()))


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                yield parse_object(line, what=f"{path}: line of a garak report", error=UsageError)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _figure(row: Mapping[str, Any], path: object) -> ClassFigure:
    """An evaluation: `total` until garak 0.13, `total_evaluated` and `fails` since."""
    probe, detector = row.get("probe"), row.get("detector")
    passed, nones = row.get("passed"), row.get("nones", 0)
    total = row.get("total_evaluated", row.get("total"))
    counts = (passed, nones, total)
    if not (isinstance(probe, str) and isinstance(detector, str)):
        raise UsageError(f"{path}: an evaluation names no probe or no detector")
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
        if not any(name == asked or name.startswith(f"{asked}.") for name in ran):
            raise UsageError(f"{path}: probe {probe} was asked for and has no evaluation")


def _run(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None, timeout: float | None
) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
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
        raise UsageError(f"garak ended with status {status}: {_last_words(log)}; see {log}")


def _ended(process: subprocess.Popen[bytes], timeout: float | None) -> int | None:
    """Its status; None if it had to be ended, its children with it."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() or ["no word"]
    return "".join(each if each.isprintable() else " " for each in lines[-1])[:_TOLD].strip()
