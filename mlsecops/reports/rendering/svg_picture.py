"""What a drawing is outside of a page: an SVG file with its own style, which notebooks show.

A notebook gets it as an image, in which nothing runs and whose style touches nothing else.
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlsecops._files import write_atomically
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import FONT, PALETTE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Picture", "draw", "png"]

_STYLE: Final = (
    PALETTE
    + f"text{{font-family:{FONT};font-size:13px;fill:var(--ink);font-variant-numeric:tabular-nums}}"
    + """
.muted{fill:var(--muted)}.small{font-size:12px}.strong{font-weight:600}
.backdrop{fill:var(--surface)}.grid-line{stroke:var(--grid);stroke-width:1}
.axis{stroke:var(--line);stroke-width:1}
.floor{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4}
.good{fill:var(--good);stroke:var(--good)}.warn{fill:var(--warn);stroke:var(--warn)}
.bad{fill:var(--bad);stroke:var(--bad)}.info{fill:var(--info);stroke:var(--info)}
.none{fill:var(--none);stroke:var(--none)}
text.good,text.warn,text.bad,text.info,text.none{stroke:none}
.soft{fill-opacity:.16;stroke:none}.line{fill:none;stroke-width:2;stroke-linejoin:round}
image{image-rendering:pixelated}
"""
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing.

    Attributes:
        title: What is drawn, for people who cannot see it.
        svg: The file's text.
    """

    title: str
    svg: str

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the SVG file, whole or not at all."""
        return write_atomically(Path(path), self.svg.encode())

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg.encode()).decode()
        return str(tag("img", src=f"data:image/svg+xml;base64,{data}", alt=self.title))


def draw(title: str, *parts: Child, width: float, height: float) -> Picture:
    """A picture of SVG elements."""
    drawing = tag(
        "svg",
        tag("title", title),
        Markup(f"<style>{_STYLE}</style>"),
        tag("rect", width=width, height=height, class_="backdrop"),
        parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )
    return Picture(title, str(drawing))


def png(pixels: NDArray[np.uint8]) -> str:
    """A data URI of an image `(h, w)`, grey, or `(h, w, 3)`, red, green and blue.

    Source:
        W3C, Portable Network Graphics (PNG) Specification, Third Edition, sections 5 and 11.
    """
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0  # noqa: PLR2004 - colour or grey
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(lines)), _chunk(b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    check: Any = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
