"""Robustness pictures: accuracy curves, accuracy by class, and a gallery of adversarial examples.

Curve, Breakdown or Cases → SVG elements → Picture
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.reports.pages.robustness_chart import percent
from mlsecops.reports.rendering.elements import label, line, path
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

_TONES: Final[tuple[Tone, ...]] = ("info", "good", "warn", "bad", "none")
_WIDTH: Final = 720.0  # pixels; chosen: the width of a notebook cell, as all sizes below
_HEIGHT: Final = 340.0  # of the curves
_LEFT: Final = 56.0  # room for the labels of the axis
_RIGHT: Final = 150.0  # room for the names of the curves
_TOP: Final = 46.0  # room for the title
_BOTTOM: Final = 54.0  # room for the label of the axis
_CELL: Final = (52.0, 34.0)  # width and height of a cell of the heat map
_NAMES: Final = 120.0  # room for the names of the attacks
_TILE: Final = 84.0  # side of an image
_CASE: Final = (3 * _TILE + 34.0, _TILE + 46.0)  # width and height of a case
_SMALL: Final = 12.0  # font size


@checked
def curve_picture(
    curves: Curve | Mapping[str, Curve],
    *,
    floor: float | None = None,
    title: str = "Accuracy against the size of the ball",
) -> Picture:
    """Accuracy against eps, with bands of the one-sided 95 % bounds.

    Args:
        curves: One curve, or several by name (before and after hardening).
        floor: Lowest accuracy of a gate, in [0, 1].
        title: Heading.

    Raises:
        UsageError: There is no curve, or there are more curves than colours.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {curves.attack: curves}
    if not 0 < len(named) <= len(_TONES):
        raise UsageError(f"curves: expected 1 to {len(_TONES)}, got {len(named)}")
    most = max(curve.radii[-1] for curve in named.values())
    ends = _spread([_y(curve.figures[-1].accuracy) for curve in named.values()])
    lines = [
        _line(name, curve, tone, most=most, end=end)
        for (name, curve), tone, end in zip(named.items(), _TONES, ends, strict=False)
    ]
    parts = (_title(title), _grid(most), _floor(floor), lines)
    return draw(title, *parts, width=_WIDTH, height=_HEIGHT)


def _title(title: str) -> Markup:
    return label(fit(title, _WIDTH - 40, 14), 20, 24, "strong")


def _x(radius: float, most: float) -> float:
    return _LEFT + radius / most * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(most: float) -> list[Markup]:
    parts = []
    for quarter in range(5):
        radius, y = most * quarter / 4, _y(quarter / 4)
        x = _x(radius, most)
        parts += [
            line((_LEFT, y), (_WIDTH - _RIGHT, y), "grid-line"),
            label(f"{25 * quarter}\u202f%", _LEFT - 8, y + 4, "small muted", "end"),
            label(f"{radius:.3g}", x, _HEIGHT - _BOTTOM + 18, "small muted", "middle"),
        ]
    middle, unit = (_LEFT + _WIDTH - _RIGHT) / 2, "radius of the ball, in units of the input"
    return [*parts, label(unit, middle, _HEIGHT - 14, "small muted", "middle")]


def _floor(floor: float | None) -> list[Markup]:
    if floor is None:
        return []
    y = _y(floor)
    return [
        line((_LEFT, y), (_WIDTH - _RIGHT, y), "floor"),
        label(f"floor {percent(floor)}", _LEFT + 6, y + 15, "small"),
    ]


def _line(name: str, curve: Curve, tone: Tone, *, most: float, end: float) -> list[Child]:
    across = [_x(radius, most) for radius in curve.radii]
    highs = [_y(figure.interval.high) for figure in curve.figures]
    lows = [_y(figure.interval.low) for figure in curve.figures]
    band = [*zip(across, highs, strict=True), *reversed(list(zip(across, lows, strict=True)))]
    dots = [(x, _y(f.accuracy), f) for x, f in zip(across, curve.figures, strict=True)]
    last = f"{name} {percent(curve.figures[-1].accuracy)}"
    return [
        path(band, f"{tone} soft", closed=True),
        path([(x, y) for x, y, _ in dots], f"{tone} line"),
        [
            tag("circle", tag("title", _described(figure)), cx=x, cy=y, r=3.5, class_=tone)
            for x, y, figure in dots
        ],
        label(fit(last, _RIGHT - 18, 13), across[-1] + 10, end + 4, tone),
    ]


def _spread(heights: Sequence[float]) -> list[float]:
    """Heights of labels, increased where two would overlap."""
    moved = dict.fromkeys(range(len(heights)), 0.0)
    last = -_HEIGHT
    for index in sorted(moved, key=lambda i: heights[i]):
        last = moved[index] = max(heights[index], last + 16)
    return list(moved.values())


def _described(figure: Figure) -> str:
    low, high = figure.interval
    return f"{percent(figure.accuracy)} [{percent(low)}, {percent(high)}] of {figure.n}"


@checked
def class_picture(
    breakdown: Breakdown,
    *,
    names: Sequence[str] | None = None,
    title: str = "Accuracy by class, in per cent",
) -> Picture:
    """Heat map of accuracies, with a row for each attack and a column for each class.

    Args:
        breakdown: Result of `mlsecops.robustness.by_class`.
        names: Names of the classes; by default their numbers.
        title: Heading.

    Raises:
        UsageError: There is not exactly one name for each class.
    """
    labels = [str(each) for each in breakdown.classes] if names is None else list(names)
    if len(labels) != len(breakdown.classes):
        raise UsageError(f"names: expected {len(breakdown.classes)}, got {len(labels)}")
    width = max(_NAMES + _CELL[0] * len(labels) + 20, 340)
    parts: list[Child] = [_title(title), [_column(i, each) for i, each in enumerate(labels)]]
    for row, (name, figures) in enumerate(breakdown.rows.items()):
        y = 70 + row * _CELL[1]
        parts.append(label(fit(name, _NAMES - 30, 13), 20, y + 21, "text"))
        parts.append([_cell(i, y, figure) for i, figure in enumerate(figures)])
    return draw(title, *parts, width=width, height=86 + _CELL[1] * len(breakdown.rows))


def _column(index: int, name: str) -> Markup:
    x = _NAMES + _CELL[0] * (index + 0.5)
    return label(fit(name, _CELL[0] - 6, _SMALL), x, 60, "small muted", "middle")


def _cell(index: int, y: float, figure: Figure) -> list[Markup]:
    x = _NAMES + _CELL[0] * index
    tone = "info" if figure.hits else "bad"
    shade = f"{0.06 + 0.44 * figure.accuracy:.2f}" if figure.hits else "0.30"
    return [
        tag(
            "rect", tag("title", _described(figure)), x=x + 1, y=y + 1, width=_CELL[0] - 2,
            height=_CELL[1] - 2, rx=3, class_=tone, fill_opacity=shade, style="stroke:none",
        ),
        label(f"{100 * figure.accuracy:.0f}", x + _CELL[0] / 2, y + 21, "text", "middle"),
    ]  # fmt: skip


@checked
def gallery_picture(
    cases: Sequence[Case],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    shape: tuple[int, ...] | None = None,
    channels_first: bool = False,
    names: Sequence[str] | None = None,
    columns: int = 2,
    title: str = "Adversarial examples with the highest confidence",
) -> Picture:
    """Original, perturbation (grey: unchanged) and adversarial example of each case.

    Args:
        cases: Result of `mlsecops.robustness.worst_cases`.
        bounds: Values that are drawn black and white.
        shape: `(h, w)`, or with channels, of flat inputs.
        channels_first: Whether images are `(c, h, w)`.
        names: Name of each class; by default its number.
        columns: Number of cases in a row.
        title: Heading.

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
        parts += [
            tag("image", href=png(each), x=x + i * (_TILE + 4), y=y, width=_TILE, height=_TILE)
            for i, each in enumerate(tiles)
        ]
        parts.append(_caption(case, names, x=x, y=y + _TILE + 17))
    width = 20 + _CASE[0] * min(columns, len(cases))
    return draw(title, *parts, width=width, height=44 + _CASE[1] * lines)


def _caption(case: Case, names: Sequence[str] | None, *, x: float, y: float) -> Markup:
    truth, answer = (
        str(each) if names is None else names[each] for each in (case.label, case.answer)
    )
    words = f"{truth} → {answer} ({percent(case.confidence)}), changed by {case.distance:.3g}"
    return label(fit(words, _CASE[0] - 16, _SMALL), x, y, "small")


def _tiles(
    case: Case, bounds: tuple[float, float], shape: tuple[int, ...] | None, *, channels_first: bool
) -> list[NDArray[np.uint8]]:
    import numpy as np  # noqa: PLC0415 - needed for galleries only

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
    if shape is not None and values.size != math.prod(shape):
        raise UsageError(f"shape {shape}: expected one of {values.size} elements")
    image = values if shape is None else values.reshape(shape)
    if image.ndim == 3 and channels_first:  # noqa: PLR2004 - channels, height, width
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:  # noqa: PLR2004 - as above
        image = image[:, :, 0]
    if image.ndim not in {2, 3} or image.shape[2:] not in {(), (3,)}:
        raise UsageError(
            f"gallery: expected images (h, w), or with 1 or 3 channels, got {values.shape}; give "
            "shape= for flat inputs, channels_first=True for (c, h, w)"
        )
    return image
