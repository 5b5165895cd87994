"""Text output of a scan: verdicts as they come, then refusals and numbers of files by format.

Verdict → lines at once; all verdicts → the refused ones again, formats, one line with the totals
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Final

from mlsecops.cli.terminal import plural, show
from mlsecops.loading import Verdict
from mlsecops.loading.scanning.entries import EXCLUDED

_EVERY: Final = 0.1  # seconds; chosen: a reader of a pipe sees lines without delay, few writes
NO_FILES: Final = frozenset({"folder", "unreadable"})


class TextOutput:
    """Lines of a scan on standard output.

    Args:
        strict: Whether what could not be checked refuses.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._formats: Counter[str] = Counter()
        self._refused: list[Verdict] = []
        self._unchecked = 0
        self._flushed = 0.0

    def add(self, verdict: Verdict) -> None:
        """Print a verdict with its findings."""
        show(f"{self._word(verdict):<9} {verdict.path} ({verdict.format})")
        for finding in verdict.findings:
            place = f" at {finding.where}" if finding.where else ""
            show(f"    {finding.severity.label} {finding.rule}{place}: {finding.message}")
        for item in verdict.unchecked:
            show(f"    not checked {item.what}: {item.why}")
        self._formats[verdict.format] += 1
        self._unchecked += bool(verdict.unchecked)
        if is_refused(verdict, strict=self._strict):
            self._refused.append(verdict)
        if time.monotonic() - self._flushed > _EVERY:
            sys.stdout.flush()
            self._flushed = time.monotonic()

    def end(self) -> None:
        """Print the refusals again, the formats, and the totals that the exit status is about."""
        files = sum(count for kind, count in self._formats.items() if kind not in NO_FILES)
        if len(self._formats) and self._formats.total() > 1:
            for verdict in self._refused:
                show(f"  {verdict.path}: {_reason(verdict)}")
            kinds = ", ".join(
                f"{kind} {count}" for kind, count in sorted(self._formats.items(), key=_most_first)
            )
            show(f"by format: {kinds}")
        show(
            f"{plural(files, 'file')} scanned: {len(self._refused)} refused, "
            f"{self._unchecked} with something unchecked{self._advice()}"
        )

    def _word(self, verdict: Verdict) -> str:
        if is_refused(verdict, strict=self._strict):
            return "refused"
        if any(finding.rule == EXCLUDED for finding in verdict.findings):
            return EXCLUDED
        return "unchecked" if verdict.unchecked else "passed"

    def _advice(self) -> str:
        only = sum(not verdict.refused for verdict in self._refused)
        if only:
            return f" ({only} refused only for that, by --strict)"
        return "; --strict refuses those" if self._unchecked and not self._strict else ""


def is_refused(verdict: Verdict, *, strict: bool) -> bool:
    """Whether a verdict makes the command fail."""
    return verdict.refused or (strict and bool(verdict.unchecked))


def _reason(verdict: Verdict) -> str:
    if verdict.refused:
        worst = max(verdict.findings, key=lambda finding: finding.severity)
        more = f" (and {len(verdict.findings) - 1} more)" if len(verdict.findings) > 1 else ""
        return f"{worst.rule}: {worst.message}{more}"
    first = verdict.unchecked[0]
    return f"not checked {first.what}: {first.why}"


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
