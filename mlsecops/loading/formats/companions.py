"""Companion file scanner: text, settings and chat templates in a model's folder.

Nothing is loaded. A chat template is reported, because the server of the model renders it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Finding, Severity
from mlsecops.loading.detection import COMPANION_SUFFIXES
from mlsecops.loading.formats.json_walk import objects
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_INTERNALS: Final = re.compile(
    r"__\w+__|\|\s*attr\b|\[\s*['\"]_|['\"]_+['\"]|\\(?:x5f|u005f|U0000005f|137|N\{)|\b(?:cycler|joiner|namespace|lipsum|self)\s*\.\s*_"
)
_DEPTH: Final = 100  # levels; chosen: settings of models have fewer than ten; deeper is unchecked
_TEMPLATES: Final = frozenset({"chat_template", "template"})


def examine_companion(source: Source, limits: Limits) -> Examination:
    """Look for settings and templates of a companion file that can run code.

    Raises:
        FormatRefused: A key of a JSON object appears twice, so that readers disagree on its value.
    """
    suffix = PurePosixPath(source.name).suffix.lower()
    if suffix not in COMPANION_SUFFIXES | {""} or source.size > limits.header_bytes:
        return Examination()
    with source.stream() as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return not_checked(source.name, "not UTF-8 text")
    if suffix == ".jinja":
        return Examination(findings=(examine_template(text, source.name, ""),))
    if suffix != ".json":
        return Examination()
    try:
        value = parse_json(text, what=source.name, error=FormatRefused, constants=True)
        return Examination(findings=tuple(_settings(value, source.name)))
    except FormatRefused as error:
        if type(error.__cause__) is ValueError:
            raise  # plain parsers accept it
        return not_checked(source.name, "not readable JSON")
    except LimitExceeded as error:
        return not_checked(source.name, str(error))


def _settings(value: Any, artifact: str) -> Iterator[Finding]:
    for item, at in objects(value, "", depth=_DEPTH, artifact=artifact):
        for key in [key for key in item if key in _TEMPLATES or key == "auto_map"]:
            place = f"{at}.{key}".lstrip(".")
            inner = item.pop(key)
            if key in _TEMPLATES:
                yield from _templates(inner, artifact, place)
            else:
                yield Finding(
                    rule="remote-code",
                    severity=Severity.MEDIUM,
                    message="names Python code to run (auto_map); leave trust_remote_code off",
                    where=place,
                    artifact=artifact,
                )


def _templates(value: Any, artifact: str, where: str) -> Iterator[Finding]:
    """One template, or several under names."""
    if isinstance(value, str):
        yield examine_template(value, artifact, where)
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _templates(item, artifact, where)


def examine_template(text: str, artifact: str, where: str) -> Finding:
    """Finding for a chat template: information, or critical where it uses Python's internals."""
    rule, severity = "chat-template", Severity.INFO
    message = "a chat template; render it only in jinja2's immutable sandbox"
    if reach := _INTERNALS.search(text):
        rule, severity = "chat-template-internals", Severity.CRITICAL
        message = f"a chat template that uses Python's internals ({reach[0]!r})"
    return Finding(rule=rule, severity=severity, message=message, where=where, artifact=artifact)
