"""Whether what lies beside a model is inert: text, settings, and templates that keep to text.

Nothing here is loaded; a chat template is reported, because whoever serves the model renders it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops.errors import LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.detection import COMPANION_SUFFIXES
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

_INTERNALS: Final = re.compile(
    r"__\w+__|\|\s*attr\b|\[\s*['\"]_|['\"]_+['\"]|\\(?:x5f|u005f|U0000005f|137|N\{)|\b(?:cycler|joiner|namespace|lipsum|self)\s*\.\s*_"
)
_DEPTH: Final = 100


def examine_companion(source: Source, limits: Limits) -> Examination:
    """Look for what is not inert in a companion file."""
    suffix = PurePosixPath(source.name).suffix.lower()
    if suffix not in COMPANION_SUFFIXES | {""} or source.size > limits.header_bytes:
        return Examination()
    with source.stream() as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return Examination(unchecked=(Unchecked(what=source.name, why="not UTF-8 text"),))
    if suffix == ".jinja":
        return Examination(findings=(examine_template(text, source.name, ""),))
    if suffix != ".json":
        return Examination()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Examination(unchecked=(Unchecked(what=source.name, why="not readable JSON"),))
    try:
        return Examination(findings=tuple(_settings(value, source.name)))
    except LimitExceeded as error:
        return Examination(unchecked=(Unchecked(what=source.name, why=str(error)),))


def _settings(value: Any, artifact: str) -> Iterator[Finding]:
    pending = [(value, "", 0)]
    while pending:
        item, at, depth = pending.pop()
        if depth > _DEPTH:
            raise LimitExceeded(f"nested deeper than {_DEPTH}")
        if isinstance(item, list):
            pending += [(inner, f"{at}[{n}]", depth + 1) for n, inner in enumerate(item)]
        if not isinstance(item, dict):
            continue
        for key, inner in item.items():
            place = f"{at}.{key}".lstrip(".")
            if key in {"chat_template", "template"}:
                yield from _templates(inner, artifact, place)
            elif key == "auto_map":
                yield _remote_code(artifact, place)
            else:
                pending.append((inner, place, depth + 1))


def _templates(value: Any, artifact: str, where: str) -> Iterator[Finding]:
    """One template, or several under names."""
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, str):
        yield examine_template(value, artifact, where)
    elif isinstance(value, (dict, list)):
        for item in inner:
            yield from _templates(item, artifact, where)


def examine_template(text: str, artifact: str, where: str) -> Finding:
    """What a chat template is: information, or a reach for Python's internals."""
    reach = _INTERNALS.search(text)
    if reach is None:
        return Finding(
            rule="chat-template",
            severity=Severity.INFO,
            message="a chat template; render it only in jinja2's immutable sandbox",
            where=where,
            artifact=artifact,
        )
    return Finding(
        rule="chat-template-internals",
        severity=Severity.CRITICAL,
        message=f"a chat template that reaches for Python's internals ({reach[0]!r})",
        where=where,
        artifact=artifact,
    )


def _remote_code(artifact: str, where: str) -> Finding:
    return Finding(
        rule="remote-code",
        severity=Severity.MEDIUM,
        message="names Python code to run (auto_map); leave trust_remote_code off",
        where=where,
        artifact=artifact,
    )
