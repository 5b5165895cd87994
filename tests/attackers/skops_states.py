"""Skops archives whose arrays, numbers or nodes were changed after skops had written them."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.attackers.model_files import zipped_names


def entries(data: bytes) -> dict[str, bytes]:
    """Every entry of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def dumped(model: Any) -> bytes:
    """What skops writes."""
    import skops.io  # noqa: PLC0415 - other attacks need no skops

    return bytes(skops.io.dumps(model))


def found(node: Any, key: str) -> dict[str, Any]:
    """First node under a name."""
    if isinstance(node, dict) and isinstance(node.get(key), dict):
        return node[key]
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        inner = found(each, key)
        if inner:
            return inner
    return {}


def with_schema(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The archive with another schema."""
    parts = entries(data)
    schema = json.loads(parts["schema.json"])
    change(schema)
    return zipped_names({**parts, "schema.json": json.dumps(schema).encode()})


def with_array(
    data: bytes, where: Callable[[dict[str, Any]], dict[str, Any]], change: Callable[[Any], Any]
) -> bytes:
    """The archive with other bytes in the array of one node."""
    parts = entries(data)
    name = where(json.loads(parts["schema.json"]))["file"]
    return zipped_names({**parts, name: npy(parts[name], change)})


def with_matrix(data: bytes, member: str, change: Callable[[Any], Any]) -> bytes:
    """The archive with other bytes in an array of its sparse matrix."""
    parts = entries(data)
    name = next(each for each in parts if each.endswith(".npz"))
    inner = entries(parts[name])
    inner[f"{member}.npy"] = npy(inner[f"{member}.npy"], change)
    return zipped_names({**parts, name: zipped_names(inner)})


def npy(data: bytes, change: Callable[[Any], Any]) -> bytes:
    """An array's file after a change."""
    values = np.load(io.BytesIO(data)).copy()
    changed = change(values)
    stream = io.BytesIO()
    np.save(stream, values if changed is None else changed)
    return stream.getvalue()


def text(value: Any) -> dict[str, Any]:
    """Node of a plain value."""
    return {
        "__class__": "str", "__module__": "builtins", "__loader__": "JsonNode",
        "content": json.dumps(value),
    }  # fmt: skip
