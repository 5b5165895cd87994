"""YAML as plain values, from parser events: nothing is constructed and no alias is expanded.

text → events → mappings, lists and text with their lines, and the tags that ask for more

An alias refers to the same value as its anchor, so that a document of n bytes has at most n values.

Source: YAML 1.2.2, sections 3.1.1 (processes) and 3.2.2.2 (anchors and aliases).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from mlsecops._bounded.budget import Pace
from mlsecops._extras import require
from mlsecops.errors import LimitExceeded

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
"""Source: YAML 1.2.2, section 10.3.2, null in the core schema."""
_PLAIN: Final = frozenset(
    {
        None, "!", "tag:yaml.org,2002:python/none", "tag:yaml.org,2002:python/bool",
        *(f"tag:yaml.org,2002:{name}" for name in (
            "str", "int", "float", "bool", "null", "map", "seq", "set", "omap", "pairs", "binary",
            "timestamp", "merge", "value", "python/str", "python/unicode", "python/bytes",
            "python/int", "python/long", "python/float", "python/complex", "python/list",
            "python/tuple", "python/dict")),
    }
)  # fmt: skip
"""Tags of data, which no reader turns into a call."""
_SLOW: Final = 100_000  # characters; measured: PyYAML without libyaml takes 3 s for them at worst
_FAST: Final = 20_000_000  # characters; chosen: the events limit the time
_EVENTS: Final = 1_000_000  # events; measured: 4 s with libyaml


@dataclass(slots=True)
class YamlMapping:
    """A mapping with every pair, repeated keys included.

    Attributes:
        pairs: Key, value, and the line of the key from 1.
    """

    pairs: list[tuple[str, Any, int]] = field(default_factory=list)


@dataclass(slots=True)
class YamlDocuments:
    """The documents of one text.

    Attributes:
        values: Mappings, lists, text, and None.
        tags: Tags that are no plain data's, each with its line from 1.
    """

    values: list[Any] = field(default_factory=list)
    tags: list[tuple[str, int]] = field(default_factory=list)


def parse_yaml(text: str, *, what: str, depth: int) -> YamlDocuments:
    """Read every document of a text.

    Args:
        text: The text.
        what: Name for messages.
        depth: Nesting levels at most.

    Raises:
        MissingExtra: PyYAML is not installed.
        LimitExceeded: It is too long or nested too deeply.
        ValueError: It is no YAML.

    Examples:
        >>> parse_yaml("a: !!python/name:os.system", what="a.yaml", depth=9).tags
        [('tag:yaml.org,2002:python/name:os.system', 1)]
    """
    yaml = require("yaml")
    loader, most = getattr(yaml, "CSafeLoader", None), _FAST
    if loader is None:
        loader, most = yaml.SafeLoader, _SLOW
    if len(text) > most:
        raise LimitExceeded(f"{what}: {len(text)} characters of YAML: expected at most {most}")
    builder, pace = _Builder(what, depth), Pace(what)
    try:
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            pace.step()
            if count > _EVENTS:
                raise LimitExceeded(f"{what}: expected at most {_EVENTS} events of YAML, got more")
            builder.take(type(event).__name__, event)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not readable YAML: {type(error).__name__}") from error
    return builder.found


class _Builder:
    """Tree of the values, built from one event after the other."""

    def __init__(self, what: str, depth: int) -> None:
        self.found = YamlDocuments()
        self._what, self._depth = what, depth
        self._open: list[tuple[Any, list[Any]]] = []  # a container, with the keys that wait
        self._anchors: dict[str, Any] = {}

    def take(self, kind: str, event: Any) -> None:
        if kind == "DocumentStartEvent":
            self._anchors = {}
        elif kind == "AliasEvent":
            if event.anchor not in self._anchors:
                raise ValueError(f"not readable YAML: no anchor {event.anchor[:80]!r}")
            self._add(self._anchors[event.anchor], event)
        elif kind == "ScalarEvent":
            null = event.style is None and event.tag is None and event.value in _NULLS
            self._start(None if null else event.value, event)
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            value: Any = YamlMapping() if kind == "MappingStartEvent" else []
            self._start(value, event)
            self._open.append((value, []))
            if len(self._open) > self._depth:
                raise LimitExceeded(f"{self._what}: YAML nested deeper than {self._depth}")
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            self._open.pop()

    def _start(self, value: Any, event: Any) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        if event.tag not in _PLAIN:
            self.found.tags.append((event.tag, event.start_mark.line + 1))
        self._add(value, event)

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            self.found.values.append(value)
            return
        container, waiting = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting:
            key, line = waiting.pop()
            name = key if isinstance(key, str) else "?"
            container.pairs.append((name, value, line))
        else:
            waiting.append((value, event.start_mark.line + 1))
            if not isinstance(value, str):
                container.pairs.append(("?", value, event.start_mark.line + 1))
