"""PNG images of a trigger: median of its rows, change against other rows, mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.poisoning.image_layout import channels_last, image_axes
from mlsecops.poisoning.png import png_bytes

if TYPE_CHECKING:
    from mlsecops.poisoning.report import Trigger

_SCALE: Final = 8  # screen pixels per image pixel; chosen
_GAP: Final = 1  # image pixels between the three views; chosen
_RGB: Final = 3  # channels of a colour image


@checked
def trigger_png(trigger: Trigger) -> bytes:
    """Three views side by side: the rows' median, the change against other rows, the mask.

    Args:
        trigger: One of a report's triggers; in the change, grey means no difference.

    Raises:
        UsageError: The inputs are not images.
    """
    axes = image_axes(trigger.pattern.shape)
    if axes is None:
        raise UsageError(f"trigger: inputs shaped {trigger.pattern.shape} are not images")
    pattern, change, mask = (
        channels_last(view.astype(np.float32), axes)
        for view in (trigger.pattern, trigger.change / 2 + np.float32(0.5), trigger.mask)
    )
    gap = np.full((axes[0], _GAP, axes[2]), 0.5, dtype=np.float32)
    row = np.concatenate([pattern, gap, change, gap, mask], axis=1)
    if row.shape[2] != _RGB:
        row = row.mean(axis=2, keepdims=True)
    pixels = np.round(np.clip(row, 0, 1) * 255).astype(np.uint8)
    return png_bytes(pixels.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1), level=9)
