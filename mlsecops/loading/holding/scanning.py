"""Scan of a held folder: every file, and what files read of each other.

Snapshot in a folder → Verdict of each file → refusal, or what was not looked into
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TypeAlias

from mlsecops.errors import FormatRefused
from mlsecops.loading.artifact import ArtifactLayout, shards
from mlsecops.loading.detection import CODE, Format
from mlsecops.loading.formats.external_data import external_data_findings, tensor_data
from mlsecops.loading.limits import Limits
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import Snapshot, Source
from mlsecops.loading.verdict import Examination, Unchecked, Verdict

__all__ = ["held_format", "require_checked", "scan_held"]

Scanned: TypeAlias = tuple[Verdict, Examination]


def scan_held(
    sources: Mapping[str, Source], *, allow_globals: Collection[str], limits: Limits
) -> dict[str, Scanned]:
    """Verdict and scan result of each file of a held folder.

    Args:
        sources: Name in the folder → held bytes at that name.
        allow_globals: Audited names.
        limits: Resource limits.

    Raises:
        UnsafeContent: A finding refuses a file.
    """
    each: dict[str, Scanned] = {}
    for name, source in sources.items():
        verdict, result = examine(source, allow_globals=allow_globals, limits=limits)
        outside = external_data_findings(source.path, name, result)
        verdict = dataclasses.replace(verdict, findings=verdict.findings + outside)
        verdict.require()
        if verdict.format in CODE and verdict.format in allow_globals:
            verdict = dataclasses.replace(verdict, unchecked=())  # trusted as it is, by name
        each[name] = verdict, result
    for name in tensor_data(each):
        verdict, result = each[name]
        if verdict.format == Format.UNKNOWN:  # numbers of another file, checked there
            data = dataclasses.replace(verdict, format=Format.TENSOR_DATA, unchecked=())
            each[name] = data, result
    return each


def held_format(
    files: ArtifactLayout, held: Snapshot, each: Mapping[str, Scanned], *, limits: Limits
) -> str:
    """Format of the model that a held folder's path leads to; `"folder"` where that is several.

    Args:
        files: Layout of the folder.
        held: Its files.
        each: Their scan results.
        limits: Resource limits.

    Raises:
        FormatRefused: An index names shards that are not there.
    """
    names = {files.main} - {""}
    if files.kind == "shards":
        names = set(shards(held.sources[files.main], files.read, limits=limits).values())
    formats = {str(each[name][0].format) for name in names}
    return formats.pop() if len(formats) == 1 else "folder"


def require_checked(each: Mapping[str, Scanned], *, allow_unchecked: bool) -> tuple[Unchecked, ...]:
    """What a scan did not look into, which the caller accepts by name.

    Args:
        each: The scan results.
        allow_unchecked: Whether the caller accepts it.

    Raises:
        FormatRefused: There is some, and the caller does not accept it.
    """
    unchecked = tuple(item for verdict, _ in each.values() for item in verdict.unchecked)
    if unchecked and not allow_unchecked:
        first = unchecked[0]
        more = f", and {len(unchecked) - 1} more" if len(unchecked) > 1 else ""
        raise FormatRefused(
            f"{first.what} was not checked ({first.why}){more}, so it is not held; if the signer "
            "is trusted with it, hold it with allow_unchecked=True"
        )
    return unchecked
