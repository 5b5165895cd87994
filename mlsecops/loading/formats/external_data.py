"""Whether the other files that a model reads are plain files beside it, and long enough.

What a scanner found a model refers to comes in; findings go out, and which files are therefore
tensor data and need no format of their own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from mlsecops.findings import Finding, Severity
from mlsecops.loading.detection import Format
from mlsecops.loading.verdict import Examination, ExternalData, Verdict


def external_data_findings(path: str, name: str, result: Examination) -> tuple[Finding, ...]:
    """Why references of a model file are refused.

    Args:
        path: Where the model file is.
        name: Its name for findings.
        result: What its scanner found.
    """
    folder = Path(path).parent
    return tuple(
        Finding(
            rule="outside-reference",
            severity=Severity.HIGH,
            message=f"reads {wanted.name!r}, which {reason}",
            where=wanted.name,
            artifact=name,
        )
        for wanted in _longest(result.external)
        if (reason := _objection(folder, wanted)) is not None
    )


def tensor_data(results: Mapping[str, tuple[Verdict, Examination]]) -> set[str]:
    """Names of a folder's files that others of its files read as tensors.

    Args:
        results: Name → verdict, and what its scanner found.
    """
    found = {
        str(PurePosixPath(name).parent / wanted.name)
        for name, (_, result) in results.items()
        for wanted in result.external
    }
    return found | set(_shards(results))


def _shards(results: Mapping[str, tuple[Verdict, Examination]]) -> Iterator[str]:
    """Data of TensorFlow's checkpoints: `x.data-00000-of-00001` beside `x.index`."""
    for name in results:
        stem, dot, _ = name.rpartition(".data-")
        index = results.get(f"{stem}.index") if dot else None
        if index is not None and index[0].format == Format.TENSOR_INDEX:
            yield name


def _longest(wanted: tuple[ExternalData, ...]) -> list[ExternalData]:
    ends: dict[str, int] = {}
    for each in wanted:
        ends[each.name] = max(each.end, ends.get(each.name, 0))
    return [ExternalData(name=name, end=end) for name, end in ends.items()]


def _objection(folder: Path, wanted: ExternalData) -> str | None:
    place = folder
    for part in PurePosixPath(wanted.name).parts:
        place /= part
        try:
            status = os.lstat(place)
        except OSError:
            return "is not there; get the whole model"
        if stat.S_ISLNK(status.st_mode):
            return "is a symlink; expected a plain file"
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return "is no plain file of its own (a folder, a device or a hard link)"
    if status.st_size < wanted.end:
        return f"has {status.st_size} bytes: expected {wanted.end} at least"
    return None
