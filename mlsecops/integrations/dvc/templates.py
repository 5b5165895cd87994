"""Templates of `dvc.yaml`: the working folder of each stage, resolved as DVC does.

dvc.yaml, params.yaml, vars → name of a stage (`train`, `train@a`) → its `wdir`

Source: DVC 3, user guide "Templating": `vars`, `foreach`, `matrix`, `item` and `key`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops.errors import FormatRefused
from mlsecops.integrations.dvc.documents import mapping, read_document

PIPELINE: Final = "dvc.yaml"
_PARAMS: Final = "params.yaml"
_MAX_STAGES: Final = 100_000  # stages of one foreach or matrix; chosen: far above real pipelines
_TEMPLATE: Final = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
_PART: Final = re.compile(r"[^.\[\]]+")


def working_folders(pipeline: Path) -> Mapping[str, str]:
    """Name of each stage of a `dvc.yaml` → its working folder, relative to the file.

    Raises:
        FormatRefused: A template cannot be resolved, or the file is malformed.
    """
    if not pipeline.exists():
        return {}
    content = read_document(pipeline)
    context: dict[str, Any] = {}
    default = pipeline.with_name(_PARAMS)
    if default.exists():
        _merge(context, read_document(default))
    _load(context, content.get("vars", ()), pipeline)
    found: dict[str, str] = {}
    for name, stage in mapping(pipeline, content.get("stages", {})).items():
        for each, definition, items in _instances(pipeline, str(name), stage, context):
            folder = definition.get("wdir", ".")
            found[each] = _resolved(str(folder), {**context, **items}, pipeline, f"wdir of {each}")
    return found


def _instances(
    pipeline: Path, name: str, stage: Any, context: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Names of a stage's instances, its definition, and what a template may name besides."""
    stage = mapping(pipeline, stage)
    if "foreach" in stage:
        definition = mapping(pipeline, stage.get("do", {}))
        for key, item in _foreach(pipeline, stage["foreach"], context):
            yield f"{name}@{key}", definition, {"item": item, "key": key}
    elif "matrix" in stage:
        for key, item in _matrix(pipeline, stage["matrix"], context):
            yield f"{name}@{key}", stage, {"item": item, "key": key}
    else:
        yield name, stage, {}


def _foreach(pipeline: Path, value: Any, context: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    value = _value(value, context, pipeline, "foreach")
    if isinstance(value, dict):
        yield from ((_text(key), item) for key, item in value.items())
    elif isinstance(value, list):
        composite = any(isinstance(item, (dict, list)) for item in value)
        for at, item in enumerate(value):
            yield (str(at) if composite else _text(item)), item
    else:
        raise FormatRefused(f"{pipeline}: expected foreach to name a list or a mapping")


def _matrix(pipeline: Path, value: Any, context: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    axes = {}
    for axis, values in mapping(pipeline, value).items():
        listed = _value(values, context, pipeline, "matrix")
        if not isinstance(listed, list):
            raise FormatRefused(
                f"{pipeline}: expected matrix to name lists, got {axis}: {listed!r}"
            )
        axes[axis] = [
            (f"{axis}{at}" if isinstance(item, (dict, list)) else _text(item), item)
            for at, item in enumerate(listed)
        ]
    for count, chosen in enumerate(itertools.product(*axes.values())):
        if count >= _MAX_STAGES:
            raise FormatRefused(f"{pipeline}: expected at most {_MAX_STAGES} stages of a matrix")
        items = dict(zip(axes, (item for _, item in chosen), strict=True))
        yield "-".join(key for key, _ in chosen), items


def _value(value: Any, context: Mapping[str, Any], pipeline: Path, where: str) -> Any:
    """What a template that is the whole of a text stands for; another value as it is."""
    if isinstance(value, str) and (whole := _TEMPLATE.fullmatch(value)):
        return _looked_up(whole[1], context, pipeline, where)
    return value


def _resolved(text: str, context: Mapping[str, Any], pipeline: Path, where: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        value = _looked_up(found[1], context, pipeline, where)
        if isinstance(value, (dict, list)) or value is None:
            raise FormatRefused(f"{pipeline}: {where}: expected {found[0]} to be text or a number")
        return _text(value)

    return _TEMPLATE.sub(replaced, text).replace("\\${", "${")


def _looked_up(path: str, context: Mapping[str, Any], pipeline: Path, where: str) -> Any:
    value: Any = context
    for part in _PART.findall(path.strip()):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise FormatRefused(
                f"{pipeline}: {where}: expected ${{{path}}} among vars and params, got nothing; "
                "install dvc here, or write the folder out"
            ) from error
    return value


def _load(context: dict[str, Any], entries: Any, pipeline: Path) -> None:
    if not isinstance(entries, (list, tuple)):
        raise FormatRefused(f"{pipeline}: expected vars to be a list")
    for entry in entries:
        if isinstance(entry, dict):
            _merge(context, entry)
            continue
        name, _, keys = str(entry).partition(":")
        if name.endswith(".py"):
            raise FormatRefused(f"{pipeline}: vars of {name}: Python is not read; install dvc here")
        content = read_document(pipeline.parent / name)
        wanted = [key for key in keys.split(",") if key]
        try:
            _merge(context, {key: content[key] for key in wanted} if wanted else content)
        except KeyError as error:
            raise FormatRefused(f"{pipeline}: vars: expected {error} in {name}") from error


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merged = dict(into[key])
            _merge(merged, value)
            into[key] = merged
        else:
            into[key] = value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
