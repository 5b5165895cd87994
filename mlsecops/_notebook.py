"""Notebook view: facts and a table that a notebook shows for a public object.

object → title, facts and rows → HTML with escaped text, without scripts and styles of a page
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from mlsecops._repr import printable

_ROWS: Final = 50  # rows; chosen: two screens of a notebook, the rest is a number
_TEXT: Final = 300  # characters of a cell; chosen: a message, not a file

C = TypeVar("C", bound=type)


@dataclass(frozen=True, slots=True)
class NotebookView:
    """What a notebook shows.

    Attributes:
        title: Heading.
        facts: Name → value, in a line below it.
        head: Headings of the table.
        rows: Rows of the table; values are shown as text.
    """

    title: str
    facts: Sequence[tuple[str, object]]
    head: Sequence[str] = ()
    rows: Iterable[Sequence[object]] = ()

    def to_html(self) -> str:
        """The view as HTML.

        Examples:
            >>> NotebookView("a < b", [("n", 1)]).to_html()
            '<div><strong>a &lt; b</strong><div>n: 1</div></div>'
        """
        facts = " · ".join(f"{_text(name)}: {_text(value)}" for name, value in self.facts)
        return f"<div><strong>{_text(self.title)}</strong><div>{facts}</div>{self._table()}</div>"

    def _table(self) -> str:
        if not self.head:
            return ""
        rows = iter(self.rows)
        shown = [_row("td", each) for each in islice(rows, _ROWS)]
        if not shown:
            return ""
        more = sum(1 for _ in rows)
        note = f"<div>… and {more} more</div>" if more else ""
        body = "".join(shown)
        return f"<table><thead>{_row('th', self.head)}</thead><tbody>{body}</tbody></table>{note}"


def notebook_view(view: Callable[[Any], NotebookView]) -> Callable[[C], C]:
    """Give the decorated class the HTML that notebooks show (`_repr_html_`).

    Source: IPython, rich display protocol.
    """

    def decorate(cls: C) -> C:
        def shown(self: object) -> str:
            return view(self).to_html()

        shown.__name__, shown.__qualname__ = "_repr_html_", f"{cls.__qualname__}._repr_html_"
        cls._repr_html_ = shown  # type: ignore[attr-defined] # of whatever class this is
        return cls

    return decorate


def _row(kind: str, values: Sequence[object]) -> str:
    cells = "".join(f'<{kind} style="text-align:left">{_text(each)}</{kind}>' for each in values)
    return f"<tr>{cells}</tr>"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(str(value))
    return html.escape(text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…")
