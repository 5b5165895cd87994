r"""Chat template scanner: attributes that jinja2's sandbox would refuse, on jinja2's syntax tree.

text → syntax tree (jinja2, never rendered) → literal names, and names put together from parts
(`template_values`) → a finding: information, or critical

The tree has escapes resolved (`'\x5fclass'`) and plain text left out. Without jinja2 a pattern over
the text finds plain spellings; what it does not find is unchecked.

Source: jinja2 3.1, `nodes` (syntax tree), `sandbox` (attributes), `filters` (`attr`, `map`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from mlsecops._bounded.budget import tick
from mlsecops._extras import require
from mlsecops.errors import LimitExceeded, MissingExtra
from mlsecops.findings import Finding, Severity
from mlsecops.loading.formats.template_values import (
    INTERNAL,
    PART,
    PLAIN,
    RISKY,
    SLICE,
    Values,
    internal,
    member_name,
    walk,
)
from mlsecops.loading.verdict import Examination, not_checked

_MOST: Final = 200_000  # characters of a file's templates; measured: 4 s at worst
_INTERNALS: Final = re.compile(
    r"__\w+__|\|\s*attr\b|\[\s*['\"]_|['\"]_+['\"]|\\(?:x5f|u005f|U0000005f|137|N\{)|\b(?:cycler|joiner|namespace|lipsum|self)\s*\.\s*_"
)
_FIELD: Final = re.compile(rf"\{{[^{{}}]*[.\[](?:_|{'|'.join(sorted(INTERNAL))})")
"""A field of `str.format` that gets an internal attribute."""
_BY_ATTRIBUTE: Final = frozenset(
    {"groupby", "join", "map", "max", "min", "rejectattr", "selectattr", "sort", "sum", "unique"}
)
"""Filters that take the name of an attribute."""
_OTHERS: Final = frozenset({"Extends", "FromImport", "Import", "Include"})


class ChatTemplates:
    """Scanner of the chat templates of one file, with one budget for all of them.

    Args:
        artifact: Name of the file.

    Examples:
        >>> found = ChatTemplates("chat_template.jinja").examine("{{ ''.__class__ }}", "")
        >>> [each.rule for each in found.findings]
        ['chat-template-internals']
    """

    def __init__(self, artifact: str) -> None:
        self._artifact = artifact
        self._left = _MOST

    def examine(self, text: str, where: str) -> Examination:
        """Finding for a template: information, or critical where it uses Python's internals."""
        tick(where=self._artifact)
        try:
            reach = self._reach(text, where or self._artifact)
        except MissingExtra as error:
            found = _INTERNALS.search(text)
            if found is None:
                return not_checked(self._artifact, f"a chat template {where}: {error}")
            reach = repr(found[0])
        except LimitExceeded as error:
            return not_checked(self._artifact, f"a chat template: {error}")
        rule, severity = "chat-template", Severity.INFO
        message = "a chat template; render it only in jinja2's immutable sandbox"
        if reach is not None:
            rule, severity = "chat-template-internals", Severity.CRITICAL
            message = f"a chat template that uses Python's internals ({reach[:200]})"
        finding = Finding(
            rule=rule, severity=severity, message=message, where=where, artifact=self._artifact
        )
        return Examination(findings=(finding,))

    def _reach(self, text: str, where: str) -> str | None:
        """The first internal attribute that a template may get, or None."""
        self._left -= len(text)
        if self._left < 0:
            raise LimitExceeded(f"{where}: expected at most {_MOST} characters of templates")
        nodes = _parsed(text, where)
        try:
            values = Values(nodes, where)
            for node in nodes:
                for problem in _problems(node, values):
                    return f"line {node.lineno}: {problem}"
        except RecursionError as error:
            raise LimitExceeded(f"{where}: nested too deeply") from error
        if any(_formats(node) for node in nodes):
            for node in nodes:
                if type(node).__name__ == "Const" and _FIELD.search(str(node.value)):
                    return f"line {node.lineno}: a format field {str(node.value)!r}"
        return None


def _parsed(text: str, where: str) -> list[Any]:
    """Every node of a template's syntax tree."""
    jinja2, ext = require("jinja2"), require("jinja2.ext")
    extensions = ["jinja2.ext.do", "jinja2.ext.loopcontrols", _generation_tag(jinja2, ext)]
    environment = jinja2.Environment(autoescape=False, extensions=extensions)
    try:
        nodes = [*walk(environment.parse(text))]
    except (jinja2.TemplateSyntaxError, RecursionError, ValueError) as error:
        raise LimitExceeded(f"{where}: jinja2 cannot parse it: {str(error)[:200]}") from error
    for node in nodes:
        if type(node).__name__ in _OTHERS:
            raise LimitExceeded(f"{where}: line {node.lineno}: reads another template")
    return nodes


def _generation_tag(jinja2: Any, ext: Any) -> Any:
    """Parser of `{% generation %}`, which Transformers adds to mark the assistant's tokens."""

    class Generation(ext.Extension):  # type: ignore[misc]  # loaded at run time
        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            """Body of the tag."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    return Generation


def _problems(node: Any, values: Values) -> Iterator[str]:
    kind = type(node).__name__
    if kind == "Getattr" and internal(node.attr):
        yield repr(node.attr)
    elif kind == "Getitem":
        yield from _key_problems(node.arg, values)
    elif kind == "Filter" and node.name == "attr":
        yield "the filter attr"
    elif kind == "Filter" and node.name in _BY_ATTRIBUTE:
        yield from _attribute_problems(node, values)
    elif _formats(node) and _computed(node.node.node, values):
        yield "format of a computed text"


def _key_problems(key: Any, values: Values) -> Iterator[str]:
    if type(key).__name__ == "Const":
        if isinstance(key.value, str) and internal(key.value):
            yield repr(key.value)
    elif type(key).__name__ != "Slice" and values.kinds(key) & (RISKY | SLICE):
        yield "a name put together from parts"


def _attribute_problems(node: Any, values: Values) -> Iterator[str]:
    """Attributes that a filter gets by name, or that a filter applied by `map` does."""
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        yield f"computed arguments of the filter {node.name}"
    for argument in _attributes(node):
        if type(argument).__name__ == "Const":
            text = argument.value if isinstance(argument.value, str) else ""
            if any(internal(part) for part in text.split(".") if part.strip("_")):
                yield repr(text)
        elif _computed(argument, values):
            yield f"a computed name for the filter {node.name}"
    if node.name == "map" and node.args:
        applied = getattr(node.args[0], "value", None)
        if applied is None or applied == "attr":
            yield "the filter attr" if applied else "a computed name for the filter map"


def _attributes(node: Any) -> list[Any]:
    """Arguments that may be an attribute's name."""
    positional = node.args
    if node.name in {"groupby", "rejectattr", "selectattr", "sum"}:
        positional = node.args[:1]
    elif node.name == "join":
        positional = node.args[1:]
    elif node.name == "map" and node.args:
        nested = getattr(node.args[0], "value", None) in _BY_ATTRIBUTE
        positional = node.args[1:] if nested else []
    return [*positional, *(pair.value for pair in node.kwargs if pair.key == "attribute")]


def _computed(node: Any, values: Values) -> bool:
    """Whether an expression may be text of the template's own, and is no literal."""
    literal = type(node).__name__ == "Const"
    return not literal and bool(values.kinds(node) & (PLAIN | RISKY | PART | SLICE))


def _formats(node: Any) -> bool:
    return type(node).__name__ == "Call" and member_name(node.node) in {"format", "format_map"}
