"""SVG picture with its own style, for files and notebooks.

SVG elements → `draw` → Picture → file, or an `<img>` in a notebook, where nothing of it can run
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlsecops._files import write_atomically
from mlsecops._repr import concise_repr
from mlsecops.poisoning.png import png_bytes
from mlsecops.reports.rendering.elements import svg
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import FILE_STYLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STYLE: Final = FILE_STYLE + "svg .soft{fill-opacity:.16}svg image{image-rendering:pixelated}"


@concise_repr("title")
@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG picture.

    Attributes:
        title: Description for screen readers.
        svg: Text of the SVG file.

    Examples:
        >>> draw("Nothing", width=10, height=10).save("nothing.svg").name
        'nothing.svg'
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
    """A picture of SVG elements on a background; sizes in pixels."""
    style = Markup(f"<style>{_STYLE}</style>")
    backdrop = tag("rect", width=width, height=height, class_="backdrop")
    return Picture(title, str(svg(title, style, backdrop, *parts, width=width, height=height)))


def png(pixels: NDArray[np.uint8]) -> str:
    """A data URI of an image `(h, w)`, grey, or `(h, w, 3)`, red, green and blue."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels)).decode()}"
