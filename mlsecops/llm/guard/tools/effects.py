"""Stated effects of tools, compared with their names, descriptions and code.

tools → words of the name, hints of the definition, calls in the source → `Finding` for each tool
whose stated effect is less than what it seems to do, or that states none

It reads and never runs a tool. A tool that acts through code which it does not show (an extension,
a method of an object from elsewhere) can pass: the check finds understated effects, no more.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from mlsecops._choices import checked
from mlsecops.findings import Finding, Severity
from mlsecops.llm.guard.tools.tool_shapes import tool_members

__all__ = ["check_effects", "named_effect"]

_WORDS: Final = {
    "read": (
        "get list read search find fetch look lookup query show view check describe count "
        "summarize summarise load browse compute calculate parse translate"
    ),
    "pay": "pay transfer refund charge purchase buy withdraw donate wire",
    "send": "send post publish tweet notify reply forward invite share upload submit message email",
    "execute": "run exec execute eval shell spawn deploy install kill restart command",
    "write": (
        "create write update delete remove add set edit insert rename move append cancel schedule "
        "reserve book reset drop save modify change clear archive assign grant revoke approve erase"
    ),
}
_EFFECT_OF: Final = {word: effect for effect, words in _WORDS.items() for word in words.split()}
_CALLS: Final = (
    ("send", re.compile(r"(?:requests|httpx|session|client)\.(?:post|put|patch|delete|request)$")),
    ("send", re.compile(r"(?:^|\.)(?:sendmail|send_message|SMTP|SMTP_SSL|publish)$")),
    ("send", re.compile(r"(?:^|\.)(?:create_connection|sendall|sendto|connect)$")),
    (
        "execute",
        re.compile(r"^(?:subprocess\.\w+|os\.(?:system|popen|exec\w+|spawn\w+)|exec|eval)$"),
    ),
    ("write", re.compile(r"^os\.(?:remove|unlink|rename|replace|rmdir|makedirs|mkdir|chmod)$")),
    ("write", re.compile(r"^shutil\.(?:rmtree|move|copy\w*)$")),
    ("write", re.compile(r"\.(?:write_text|write_bytes|unlink|rmdir|touch|commit)$")),
)
_FETCHES: Final = re.compile(
    r"(?:requests|httpx|session|client)\.get$|(?:^|\.)url(?:open|retrieve)$"
)
_CHANGING: Final = re.compile(
    r"\s*(?:insert|update|delete|drop|alter|create|truncate)\b", re.IGNORECASE
)
_HARMLESS: Final = frozenset({"none", "read"})
_PART: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


@checked
def check_effects(tools: Iterable[Any], *, artifact: str = "tools") -> list[Finding]:
    """Compare the effects that tools state with what their names and code say.

    Args:
        tools: Guarded functions, other functions, or definitions (chat completions, responses,
            Anthropic, MCP with its annotations).
        artifact: Name for the findings.

    Returns:
        A finding for each tool with an understated, an unstated or an unreadable effect.

    Examples:
        >>> from mlsecops.llm import guarded_tool
        >>> @guarded_tool(effect="read")
        ... def send_mail(to: str) -> None: ...
        >>> [finding.where for finding in check_effects([send_mail])]
        ['send_mail']
    """
    return [each for tool in tools for each in _checked(tool, artifact)]


def named_effect(name: str) -> str | None:
    """The effect of the first verb in a name, or None.

    Examples:
        >>> named_effect("getEmails"), named_effect("send_money"), named_effect("weather")
        ('read', 'send', None)
    """
    words = (part.lower() for part in _PART.findall(name))
    return next((_EFFECT_OF[word] for word in words if word in _EFFECT_OF), None)


def _checked(tool: Any, artifact: str) -> Iterator[Finding]:
    members = tool_members(tool)
    name = str(members.get("name") or getattr(tool, "__name__", type(tool).__name__))
    stated = _stated(tool, members)
    if stated is None:
        yield _finding(
            "effect-unstated", Severity.MEDIUM, name, artifact,
            f"tool {name}: expected a stated effect, got none; decorate it with guarded_tool, or "
            "give readOnlyHint",
        )  # fmt: skip
        return
    for effect, why in _evidence(tool, name):
        if stated in _HARMLESS and effect not in _HARMLESS:
            yield _finding(
                "effect-understated", Severity.HIGH, name, artifact,
                f"tool {name}: states effect {stated!r}, and {why}; state {effect!r}, or show "
                "that it changes nothing",
            )  # fmt: skip
            return
    if callable(tool) and _source(tool) is None:
        yield _finding(
            "effect-unchecked", Severity.LOW, name, artifact,
            f"tool {name}: its source cannot be read, so its effect {stated!r} is unchecked",
        )  # fmt: skip


def _finding(rule: str, severity: Severity, name: str, artifact: str, message: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, where=name, artifact=artifact)


def _stated(tool: Any, members: Mapping[str, Any]) -> str | None:
    stated = getattr(tool, "guarded_effect", None) or members.get("effect")
    if isinstance(stated, str):
        return stated
    hints = members.get("annotations")
    read_only = hints.get("readOnlyHint") if isinstance(hints, Mapping) else None
    read_only = getattr(hints, "readOnlyHint", read_only)
    return None if read_only is None else "read" if read_only else "write"


def _evidence(tool: Any, name: str) -> Iterator[tuple[str, str]]:
    effect = named_effect(name)
    if effect is not None:
        yield effect, f"its name says {effect!r}"
    source = _source(tool) if callable(tool) else None
    if source is not None:
        yield from _calls(source)


def _source(tool: Any) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(tool)))
    except (OSError, TypeError):
        return None


def _calls(source: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    chosen = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _dotted(node.func)
            for effect, pattern in _CALLS:
                if pattern.search(called):
                    yield effect, f"its code calls {called}"
            if _FETCHES.search(called) and _address_is_chosen(node, chosen):
                yield "send", f"its code calls {called} with an address that the caller chooses"
            if called.rpartition(".")[2] == "open" and _writes(node):
                yield "write", "its code opens a file for writing"
            if called.rpartition(".")[2] in {"execute", "executemany"} and _changes(node):
                yield "write", "its code changes a database"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _address_is_chosen(call: ast.Call, chosen: set[str]) -> bool:
    """Whether a request goes to an argument of the tool, or has data."""
    first = call.args[0] if call.args else None
    named = isinstance(first, ast.Name) and first.id in chosen
    return named or any(each.arg in {"data", "json", "files"} for each in call.keywords)


def _writes(call: ast.Call) -> bool:
    modes = [*call.args, *(each.value for each in call.keywords if each.arg == "mode")]
    texts = (each.value for each in modes if isinstance(each, ast.Constant))
    return any(isinstance(x, str) and re.fullmatch(r"[rwaxbt+]*[wax+][bt+]*", x) for x in texts)


def _changes(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and bool(_CHANGING.match(str(first.value)))
