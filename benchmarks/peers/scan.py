"""Scan files with one peer, in the peer's own environment: ``python scan.py PEER < paths``.

Paths come in, one a line; a line of JSON goes out for each: refused, passed, or unchecked (not
supported, or an error), and the CPU seconds that it took. It imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import time
import zipfile
from collections.abc import Callable

os.environ["PROMPTFOO_DISABLE_TELEMETRY"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def picklescan(*, strict: bool = False) -> Callable[[str], str]:
    """Refused: a dangerous global; with ``strict`` a suspicious one, too."""
    from picklescan.scanner import scan_file_path  # noqa: PLC0415 - the peer's own environment

    def judge(path: str) -> str:
        result = scan_file_path(path)
        if result.issues_count or (strict and result.suspicious_count):
            return "refused"
        return "unchecked" if result.scan_err or not result.scanned_files else "passed"

    return judge


def modelscan() -> Callable[[str], str]:
    """Refused: any issue."""
    from modelscan.modelscan import ModelScan  # noqa: PLC0415 - as above

    def judge(path: str) -> str:
        result = ModelScan().scan(path)
        if result["summary"]["total_issues"]:
            return "refused"
        scanned = result["summary"]["scanned"]["total_scanned"]
        return "unchecked" if result["errors"] or not scanned else "passed"

    return judge


def fickling() -> Callable[[str], str]:
    """Refused: not likely safe; pickles inside zip archives are taken out for it."""
    from fickling.analysis import Severity, check_safety  # noqa: PLC0415 - as above
    from fickling.fickle import StackedPickle  # noqa: PLC0415 - as above

    def judge(path: str) -> str:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".pkl")]
                streams = [io.BytesIO(archive.read(name)) for name in names]
        else:
            with open(path, "rb") as stream:  # noqa: PTH123 - no pathlib needed here
                streams = [io.BytesIO(stream.read())]
        pickles = [each for stream in streams for each in StackedPickle.load(stream)]
        if any(check_safety(each).severity > Severity.LIKELY_SAFE for each in pickles):
            return "refused"
        return "passed" if pickles else "unchecked"

    return judge


def modelaudit() -> Callable[[str], str]:
    """Refused: an issue of warning or critical severity."""
    from modelaudit.core import scan_model_directory_or_file  # noqa: PLC0415 - as above

    def judge(path: str) -> str:
        result = scan_model_directory_or_file(path, cache_enabled=False, skip_file_types=False)
        if any(str(issue.severity.value) in {"warning", "critical"} for issue in result.issues):
            return "refused"
        return "passed" if result.success and result.scanner_names else "unchecked"

    return judge


PEERS = {
    "picklescan": picklescan,
    "picklescan-strict": lambda: picklescan(strict=True),
    "modelscan": modelscan,
    "fickling": fickling,
    "modelaudit": modelaudit,
}


def main() -> None:
    """Judge each path."""
    logging.disable(logging.CRITICAL)
    judge = PEERS[sys.argv[1]]()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a peer prints is no answer
    for line in sys.stdin:
        path = line.rstrip("\n")
        start = time.process_time()
        outcome = "unchecked"
        with contextlib.suppress(Exception):
            outcome = judge(path)
        seconds = time.process_time() - start
        answers.write(json.dumps({"path": path, "outcome": outcome, "seconds": seconds}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
