"""Reader of boosting libraries' checked models, without the library: an Ensemble of trees.

checked bytes of XGBoost (JSON, UBJSON) or LightGBM (text) → `adapters.trees` → Ensemble
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mlsecops._json import parse_object
from mlsecops.adapters.trees.ensemble import Ensemble
from mlsecops.adapters.trees.lightgbm import read_lightgbm
from mlsecops.adapters.trees.xgboost import read_xgboost
from mlsecops.errors import FormatRefused, UsageError
from mlsecops.loading.containers.cursor import Cursor
from mlsecops.loading.formats.trees.ubjson import UbJsonReader
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source


def read_tree_model(source: Source, limits: Limits, *, kind: str) -> Ensemble:
    """The trees of a file.

    Args:
        source: Checked bytes.
        limits: Resource limits, those of the check.
        kind: `"json"` or `"ubjson"` (XGBoost), or `"text"` (LightGBM).

    Raises:
        FormatRefused: It is no sum of trees with one score a leaf, with the reason.
    """
    try:
        return _READERS[kind](source, limits)
    except UsageError as error:
        raise FormatRefused(f"{source.name}: {error}; hold the file for its library") from error


def _json(source: Source, limits: Limits) -> Ensemble:
    del limits  # the check has measured the file
    with source.stream() as stream:
        value = parse_object(stream.read(), what=source.name, error=FormatRefused)
    return read_xgboost(value)


def _ubjson(source: Source, limits: Limits) -> Ensemble:
    with source.stream() as stream:
        cursor = Cursor(stream, source.size, where=source.name, limits=limits)
        value: Any = UbJsonReader(cursor, depth=limits.depth, values=limits.opcodes).value()
        cursor.require_end()
    return read_xgboost(value)


def _text(source: Source, limits: Limits) -> Ensemble:
    del limits  # as above
    with source.stream() as stream:
        return read_lightgbm(stream.read().decode("utf-8", "replace"))


_READERS: Final[dict[str, Callable[[Source, Limits], Ensemble]]] = {
    "json": _json,
    "ubjson": _ubjson,
    "text": _text,
}
