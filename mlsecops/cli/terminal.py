"""Terminal output: text, JSON, notes on standard error, and a progress bar.

value or text → control characters escaped → standard output or standard error
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from mlsecops._repr import printable

if TYPE_CHECKING:
    from mlsecops.findings import Finding

Bar: TypeAlias = Callable[[int, int], object]
Unit: TypeAlias = Literal["bytes", "files", "samples"]
_UNUSUAL: Final = re.compile(r"[^\x20-\x7e\n]")


@contextmanager
def progress(label: str, *, unit: Unit) -> Iterator[Bar | None]:
    """Show a progress bar on standard error if it is a terminal.

    Args:
        label: Name of the work, in a word.
        unit: Unit of the bar.

    Returns:
        A context whose value takes `(done, total)`, or is None in a pipe.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - needed on a terminal only
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    rate = (TransferSpeedColumn(),) if unit == "bytes" else ()
    columns = (
        TextColumn("{task.description}"), BarColumn(), count, *rate, TimeRemainingColumn()
    )  # fmt: skip
    shown = sys.stdout.isatty()  # what goes to a pipe must not be drawn above the bar instead
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=shown
    ) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(*lines: str) -> None:
    """Print lines, each on one line with its control characters escaped."""
    for line in lines:
        print(printable(line))


def show_json(value: Any) -> None:
    """Print a value as indented JSON.

    Examples:
        >>> show_json({"n": 1})
        {
          "n": 1
        }
    """
    print(json_text(value))


def json_text(value: Any) -> str:
    r"""Indented JSON, in which unprintable characters (also lone surrogates) are escaped.

    Examples:
        >>> json_text("a\u202eb")
        '"a\\u202eb"'
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _UNUSUAL.sub(_json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    if found[0].isprintable():
        return found[0]
    return "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]


def print_findings(findings: Iterable[Finding], form: str, *, checked: Iterable[str]) -> None:
    """Print findings as SARIF or JUnit."""
    from mlsecops.reports import junit_xml, sarif_log  # noqa: PLC0415 - needed for these only

    if form == "sarif":
        show_json(sarif_log(findings))
    else:
        print(junit_xml(findings, checked=checked), end="")


def note(text: str) -> None:
    """Print one line on standard error."""
    print(f"mlsecops: {printable(' '.join(text.split()))}", file=sys.stderr)


def plural(count: int, noun: str) -> str:
    """A number with its noun.

    Examples:
        >>> plural(2, "file")
        '2 files'
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
