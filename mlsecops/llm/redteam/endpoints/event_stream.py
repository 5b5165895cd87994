"""Server-sent events of a model's endpoint.

bytes of a whole, bounded response → JSON data of its events, and whether its end mark came.

Source: WHATWG HTML Standard (2025), section 9.2.6 (interpreting an event stream).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mlsecops._json import parse_json

__all__ = ["END", "events"]

END: Final = "[DONE]"
"""Data of OpenAI's last event."""


def events(data: bytes) -> Iterator[Any]:
    r"""Yield the data of each event: parsed JSON, or `END`; raises `ValueError` for anything else.

    Examples:
        >>> list(events(b'event: x\ndata: {"a": 1}\n\ndata: [DONE]\n\n'))
        [{'a': 1}, '[DONE]']
    """
    lines = data.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    held: list[str] = []
    for line in [*lines, ""]:
        name, _, value = line.partition(":")
        if name == "data":
            held.append(value.removeprefix(" "))
        elif not line and held:
            text = "\n".join(held)
            held.clear()
            yield END if text == END else parse_json(text, what="event", error=ValueError)
