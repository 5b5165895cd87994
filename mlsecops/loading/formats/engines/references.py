"""References of settings to model files: indexes of shards, and manifests of packages.

parsed JSON and its name → names of the files that have to lie in the model's folder

Source: Transformers `*.index.json` (`weight_map`); Core ML `Manifest.json` (`itemInfoEntries`);
TensorFlow.js `model.json` (`weightsManifest`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from mlsecops.errors import UnsafeContent
from mlsecops.loading.formats.onnx import require_relative
from mlsecops.loading.verdict import Examination, ExternalData, refusal

_INDEX: Final = ".index.json"
_MOST: Final = 100_000  # files; default of `Limits.tensors`


def examine_references(value: Any, artifact: str) -> Examination:
    """Files that settings name, each of which is scanned by itself.

    Args:
        value: Parsed JSON.
        artifact: Name of the file.
    """
    found: dict[str, ExternalData] = {}
    try:
        for name in _names(value, PurePosixPath(artifact).name):
            require_relative(name, artifact=artifact, tensor="its list of files")
            found[name] = ExternalData(name=name, end=0, scanned=True)
            if len(found) > _MOST:
                break
    except UnsafeContent as error:
        return Examination(findings=(refusal(error, artifact=artifact),))
    return Examination(external=tuple(found.values()))


def _names(value: Any, file: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if file.endswith(_INDEX) and isinstance(value.get("weight_map"), dict):
        yield from map(str, value["weight_map"].values())
    entries = value.get("itemInfoEntries")
    if file == "Manifest.json" and isinstance(entries, dict):
        for each in entries.values():
            if isinstance(each, dict) and isinstance(each.get("path"), str):
                yield f"Data/{each['path']}"
    groups = value.get("weightsManifest")
    for group in groups if isinstance(groups, list) else ():
        paths = group.get("paths") if isinstance(group, dict) else None
        yield from map(str, paths if isinstance(paths, list) else ())
