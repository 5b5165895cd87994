"""What people see: progress on a terminal, none in a pipe; JSON that machines read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from mlsecops.findings import Finding

Bar: TypeAlias = Callable[[int, int], object]
Unit: TypeAlias = Literal["bytes", "samples"]


@contextmanager
def progress(label: str, *, unit: Unit) -> Iterator[Bar | None]:
    """Show a bar on standard error while it is a terminal; give None in a pipe.

    Args:
        label: What is being done, in a word.
        unit: What is counted; the bar is told `(done, in all)`.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe must not pay for the terminal
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
    )

    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def byte_progress(label: str) -> Iterator[Bar | None]:
    """Show a bar of bytes; as `progress`."""
    with progress(label, unit="bytes") as bar:
        yield bar


def show(text: str) -> None:
    """Print text for people; what would steer a terminal is printed as its escape."""
    print(visible(text))


def show_json(value: Any) -> None:
    """Print a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # A name that is no UTF-8 holds lone surrogates, whose escape is JSON's own.
    print(text.encode("utf-8", "backslashreplace").decode())


def print_findings(findings: Iterable[Finding], form: str, *, checked: Iterable[str]) -> None:
    """Print findings as SARIF or JUnit."""
    from mlsecops.reports import (  # noqa: PLC0415 - text and JSON need no reports
        junit_xml,
        sarif_log,
    )

    if form == "sarif":
        show_json(sarif_log(findings))
    else:
        print(junit_xml(findings, checked=checked), end="")


def note(text: str) -> None:
    """Say something on standard error, in one line, beside the result."""
    print(f"mlsecops: {visible(' '.join(text.split()))}", file=sys.stderr)


def visible(text: str) -> str:
    """Text in which every character can be seen; hostile names may hold control sequences."""
    return "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )


def plural(count: int, noun: str) -> str:
    """A number with its noun (`"1 file"`, `"2 files"`)."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
