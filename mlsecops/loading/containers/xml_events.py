"""XML start tags, in the order of the file; entities and document types are refused.

Source: XML 1.0, sections 2.8 (document type declaration) and 4.2 (entities).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from mlsecops._bounded.budget import Pace
from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading.limits import PIECE, Limits
from mlsecops.loading.snapshot import Source


class XmlTag:
    """A start tag with its line."""

    __slots__ = ("attributes", "line", "name")

    def __init__(self, name: str, attributes: dict[str, str], line: int) -> None:
        self.name, self.attributes, self.line = name, attributes, line


def xml_tags(source: Source, limits: Limits) -> Iterator[XmlTag]:
    """Start tags of a document, namespaces left out.

    Raises:
        FormatRefused: It is no XML.
        UnsafeContent: It declares a document type, which may have other files read.
        LimitExceeded: It has too many tags, or they are nested too deeply.
    """
    parser, found, pace = expat.ParserCreate(), list[XmlTag](), Pace(source.name)
    count = level = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, level
        count, level = count + 1, level + 1
        pace.step()
        limits.require("opcodes", count, where=source.name)
        limits.require("depth", level, where=source.name)
        found.append(XmlTag(name.rpartition(":")[2], attributes, parser.CurrentLineNumber))

    def end(_: str) -> None:
        nonlocal level
        level -= 1

    def declared(*_: Any) -> None:
        raise UnsafeContent(
            f"{source.name}: line {parser.CurrentLineNumber}: declares a document type, whose "
            "entities may have other files read; expected none in a model",
            rule="xml-entity",
            where=f"line {parser.CurrentLineNumber}",
        )

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = declared
    parser.buffer_text = False
    with source.stream() as stream:
        try:
            while piece := stream.read(PIECE):
                parser.Parse(piece, False)  # noqa: FBT003 - expat's own signature
                yield from found
                found.clear()
            parser.Parse(b"", True)  # noqa: FBT003 - as above
        except expat.ExpatError as error:
            raise FormatRefused(f"{source.name}: not readable as XML: {error}") from error
    yield from found
