"""Numbers that a library itself gives to the categories of a data frame.

fitted model, frame → `native_codes` → column → category → number in the trees
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from mlsecops._json import parse_json
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.robustness.tables.columns import FrameRows


def native_codes(model: Any, rows: FrameRows) -> dict[int, dict[Any, float]]:
    """Codes of each column of categories, for a model that takes the frame without a pipeline.

    Raises:
        UsageError: The model has categories, and their codes cannot be read.
    """
    columns = range(len(rows.names))
    flags = [place for place in columns if rows.is_flag(place)]
    names = [place for place in columns if not rows.is_number(place) and place not in flags]
    numbers = {False: 0.0, True: 1.0}
    return dict.fromkeys(flags, numbers) | _of_names(model, rows, names)


def _of_names(model: Any, rows: FrameRows, places: list[int]) -> dict[int, dict[Any, float]]:
    library = type(model).__module__.split(".")[0]
    if library == "lightgbm":
        booster = getattr(model, "booster_", model)
        return _in_order(booster.pandas_categorical or [], places)
    if library == "xgboost":
        return _xgboost(getattr(model, "get_booster", lambda: model)(), places)
    if library == "sklearn" and getattr(model, "is_categorical_", None) is not None:
        return _histogram(model)
    if places:
        raise UsageError(
            f"{type(model).__name__}: column {rows.names[places[0]]!r} holds categories whose "
            "codes cannot be read; encode them in a pipeline"
        )
    return {}


def _in_order(lists: Any, places: list[int]) -> dict[int, dict[Any, float]]:
    if len(lists) != len(places):
        raise UsageError(f"model: expected {len(lists)} columns of categories, got {len(places)}")
    return {
        place: {value: float(code) for code, value in enumerate(values)}
        for place, values in zip(places, lists, strict=True)
    }


def _histogram(model: Any) -> dict[int, dict[Any, float]]:
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - the only place of the codes
    columns = [i for i, flag in enumerate(model.is_categorical_) if flag]
    numeric = {
        place: all(isinstance(v, (int, float)) for v in listed.tolist())
        for place, listed in zip(columns, encoder.categories_, strict=True)
    }
    return {
        place: {
            value: float(value) if numeric[place] else float(code)
            for code, value in enumerate(listed.tolist())
            if value == value  # noqa: PLR0124 - no NaN
        }
        for place, listed in zip(columns, encoder.categories_, strict=True)
    }


def _xgboost(booster: Any, places: list[int]) -> dict[int, dict[Any, float]]:
    text = bytes(booster.save_raw(raw_format="json"))
    document = parse_json(text, what="XGBoost model", error=UsageError, constants=True)
    listed = document["learner"]["gradient_booster"].get("model", {}).get("cats", {}).get("enc", [])
    found: dict[int, dict[Any, float]] = {}
    for place in places:
        entry = listed[place] if place < len(listed) else {}
        values, offsets = entry.get("values", []), entry.get("offsets")
        if not values:
            raise UsageError(
                "XGBoost model: holds no names of categories; train it with 3.1 or newer"
            )
        if offsets is None:
            found[place] = {value: float(code) for code, value in enumerate(values)}
            continue
        octets = bytes(value % 256 for value in values)
        spans = itertools.pairwise(offsets)
        names = [octets[start:end].decode("utf-8") for start, end in spans]
        found[place] = {name: float(code) for code, name in enumerate(names)}
    return found
