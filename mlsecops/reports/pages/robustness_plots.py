"""How robustness is drawn for notebooks and reports: curves, classes, and a gallery of examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mlsecops.errors import UsageError
from mlsecops.reports.pages.robustness import percent
from mlsecops.reports.rendering.markup import Child, Markup, tag
from mlsecops.reports.rendering.page import Tone
from mlsecops.reports.rendering.svg_picture import Picture, draw, png
from mlsecops.reports.rendering.text_width import fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlsecops.robustness.curve import Curve
    from mlsecops.robustness.per_class import Breakdown, Case
    from mlsecops.robustness.report import Figure

__all__ = ["class_picture", "curve_picture", "gallery_picture"]

_TONES: Final[tuple[Tone, ...]] = ("info", "good", "warn", "bad", "none")
_WIDTH: Final = 720.0
_HEIGHT: Final = 340.0
_LEFT: Final = 56.0
_RIGHT: Final = 150.0
_TOP: Final = 46.0
_BOTTOM: Final = 54.0
_CELL: Final = (52.0, 34.0)
_NAMES: Final = 120.0
_TILE: Final = 84.0
_CASE: Final = (3 * _TILE + 34.0, _TILE + 46.0)
_SMALL: Final = 12.0


def curve_picture(
    curves: Curve | Mapping[str, Curve],
    *,
    floor: float | None = None,
    title: str = "Accuracy against the size of the ball",
) -> Picture:
    """Accuracy against eps, each curve in a band of its one-sided 95 % bounds.

    Args:
        curves: One, or several by name (before and after hardening).
        floor: A gate's floor, a share in [0, 1].
        title: What stands above.

    Raises:
        UsageError: There is no curve, or more than can be told apart.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {curves.attack: curves}
    if not 0 < len(named) <= len(_TONES):
        raise UsageError(f"curves: expected 1 to {len(_TONES)}, got {len(named)}")
    most = max(curve.radii[-1] for curve in named.values())
    ends = _spread([_y(curve.figures[-1].accuracy) for curve in named.values()])
    parts: list[Child] = [_title(title), _grid(most), _floor(floor)]
    for (name, curve), tone, end in zip(named.items(), _TONES, ends, strict=False):
        parts.append(_line(name, curve, tone, most=most, end=end))
    return draw(title, parts, width=_WIDTH, height=_HEIGHT)


def _title(title: str) -> Markup:
    return tag("text", fit(title, _WIDTH - 40, 14), x=20, y=24, class_="strong")


def _x(radius: float, most: float) -> float:
    return _LEFT + radius / most * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(most: float) -> list[Markup]:
    parts = []
    for quarter in range(5):
        y, x = _y(quarter / 4), _x(most * quarter / 4, most)
        parts += [
            tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid-line"),
            tag(
                "text", f"{25 * quarter}\u202f%", x=_LEFT - 8, y=y + 4, text_anchor="end",
                class_="small muted",
            ),
            tag(
                "text", f"{most * quarter / 4:.3g}", x=x, y=_HEIGHT - _BOTTOM + 18,
                text_anchor="middle", class_="small muted",
            ),
        ]  # fmt: skip
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    label = "radius of the ball, in units of the input"
    text = tag("text", label, x=middle, y=_HEIGHT - 14, text_anchor="middle", class_="small muted")
    return [*parts, text]


def _floor(floor: float | None) -> list[Markup]:
    if floor is None:
        return []
    y = _y(floor)
    return [
        tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="floor"),
        tag("text", f"floor {percent(floor)}", x=_LEFT + 6, y=y + 15, class_="small"),
    ]


def _line(name: str, curve: Curve, tone: Tone, *, most: float, end: float) -> list[Child]:
    across = [_x(radius, most) for radius in curve.radii]
    highs = [_y(figure.interval.high) for figure in curve.figures]
    lows = [_y(figure.interval.low) for figure in curve.figures]
    band = [*zip(across, highs, strict=True), *reversed(list(zip(across, lows, strict=True)))]
    dots = [(x, _y(f.accuracy), f) for x, f in zip(across, curve.figures, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in dots)
    last = f"{name} {percent(curve.figures[-1].accuracy)}"
    return [
        tag("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in band), class_=f"{tone} soft"),
        tag("path", d=path, class_=f"{tone} line"),
        [
            tag("circle", tag("title", _told(figure)), cx=x, cy=y, r=3.5, class_=tone)
            for x, y, figure in dots
        ],
        tag("text", fit(last, _RIGHT - 18, 13), x=across[-1] + 10, y=end + 4, class_=tone),
    ]


def _spread(heights: Sequence[float]) -> list[float]:
    """Heights of labels, moved apart where two would overlap."""
    moved = dict.fromkeys(range(len(heights)), 0.0)
    last = -_HEIGHT
    for index in sorted(moved, key=lambda i: heights[i]):
        last = moved[index] = max(heights[index], last + 16)
    return list(moved.values())


def _told(figure: Figure) -> str:
    low, high = figure.interval
    return f"{percent(figure.accuracy)} [{percent(low)}, {percent(high)}] of {figure.n}"


def class_picture(
    breakdown: Breakdown,
    *,
    names: Sequence[str] | None = None,
    title: str = "Accuracy by class, in per cent",
) -> Picture:
    """A heat map: a row for each attack, a column for each class.

    Args:
        breakdown: As `mlsecops.robustness.by_class` gives it.
        names: Names of the classes; by default their numbers.
        title: What stands above.

    Raises:
        UsageError: The names are not one for each class.
    """
    labels = [str(each) for each in breakdown.classes] if names is None else list(names)
    if len(labels) != len(breakdown.classes):
        raise UsageError(f"names: expected {len(breakdown.classes)}, got {len(labels)}")
    width = max(_NAMES + _CELL[0] * len(labels) + 20, 340)
    parts: list[Child] = [_title(title), [_column(i, label) for i, label in enumerate(labels)]]
    for line, (name, figures) in enumerate(breakdown.rows.items()):
        y = 70 + line * _CELL[1]
        parts.append(tag("text", fit(name, _NAMES - 30, 13), x=20, y=y + 21))
        parts.append([_cell(i, y, figure) for i, figure in enumerate(figures)])
    return draw(title, parts, width=width, height=86 + _CELL[1] * len(breakdown.rows))


def _column(index: int, label: str) -> Markup:
    x = _NAMES + _CELL[0] * (index + 0.5)
    text = fit(label, _CELL[0] - 6, _SMALL)
    return tag("text", text, x=x, y=60, text_anchor="middle", class_="small muted")


def _cell(index: int, y: float, figure: Figure) -> list[Markup]:
    x = _NAMES + _CELL[0] * index
    tone = "info" if figure.hits else "bad"
    shade = f"{0.06 + 0.44 * figure.accuracy:.2f}" if figure.hits else "0.30"
    return [
        tag(
            "rect", tag("title", _told(figure)), x=x + 1, y=y + 1, width=_CELL[0] - 2,
            height=_CELL[1] - 2, rx=3, class_=tone, stroke="none", fill_opacity=shade,
            style="stroke:none",
        ),
        tag(
            "text", f"{100 * figure.accuracy:.0f}", x=x + _CELL[0] / 2, y=y + 21,
            text_anchor="middle",
        ),
    ]  # fmt: skip


def gallery_picture(
    cases: Sequence[Case],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    shape: tuple[int, ...] | None = None,
    channels_first: bool = False,
    names: Sequence[str] | None = None,
    columns: int = 2,
    title: str = "Examples that fool the model most surely",
) -> Picture:
    """Each case as it was, what was changed (grey: nothing), and what fools the model.

    Args:
        cases: As `mlsecops.robustness.worst_cases` gives them.
        bounds: Values that are drawn black and white.
        shape: `(h, w)`, or with channels, of inputs that are flat.
        channels_first: Whether images are `(c, h, w)`.
        names: Name of each class; by default its number.
        columns: Cases in a line.
        title: What stands above.

    Raises:
        UsageError: There is no case, or the inputs are no images.
    """
    if not cases or columns < 1:
        raise UsageError(f"gallery: expected a case and a column, got {len(cases)} and {columns}")
    lines = -(-len(cases) // columns)
    parts: list[Child] = [_title(title)]
    for index, case in enumerate(cases):
        x, y = 20 + _CASE[0] * (index % columns), 44 + _CASE[1] * (index // columns)
        tiles = _tiles(case, bounds, shape, channels_first=channels_first)
        parts.append([_tile(pixels, x + i * (_TILE + 4), y) for i, pixels in enumerate(tiles)])
        parts.append(_caption(case, names, x=x, y=y + _TILE + 17))
    return draw(
        title, parts, width=20 + _CASE[0] * min(columns, len(cases)), height=44 + _CASE[1] * lines
    )


def _caption(case: Case, names: Sequence[str] | None, *, x: float, y: float) -> Markup:
    label, answer = (
        str(each) if names is None else names[each] for each in (case.label, case.answer)
    )
    words = f"{label} → {answer} ({percent(case.confidence)}), changed by {case.distance:.3g}"
    return tag("text", fit(words, _CASE[0] - 16, _SMALL), x=x, y=y, class_="small")


def _tile(pixels: NDArray[np.uint8], x: float, y: float) -> Markup:
    return tag("image", href=png(pixels), x=x, y=y, width=_TILE, height=_TILE)


def _tiles(
    case: Case, bounds: tuple[float, float], shape: tuple[int, ...] | None, *, channels_first: bool
) -> list[NDArray[np.uint8]]:
    import numpy as np  # noqa: PLC0415 - only galleries need it

    low, high = bounds
    change = case.example - case.original
    largest = float(np.abs(change).max()) or 1.0
    shares = (
        (case.original - low) / (high - low),
        0.5 + change / (2 * largest),
        (case.example - low) / (high - low),
    )
    pixels = [_image(each, shape, channels_first=channels_first) for each in shares]
    return [(np.clip(each, 0, 1) * 255).round().astype(np.uint8) for each in pixels]


def _image(
    values: NDArray[np.float32], shape: tuple[int, ...] | None, *, channels_first: bool
) -> NDArray[np.float32]:
    """Values as `(h, w)` or `(h, w, 3)`."""
    if shape is not None and values.size != math.prod(shape):
        raise UsageError(f"shape {shape}: expected one of {values.size} elements")
    image = values if shape is None else values.reshape(shape)
    if image.ndim == 3 and channels_first:  # noqa: PLR2004 - channels, height, width
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:  # noqa: PLR2004 - as above
        image = image[:, :, 0]
    if image.ndim not in {2, 3} or image.shape[2:] not in {(), (3,)}:
        raise UsageError(
            f"gallery: expected images (h, w), or with 1 or 3 channels, got {values.shape}: say "
            "shape= for flat inputs, and channels_first"
        )
    return image
