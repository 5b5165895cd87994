"""External data check: other files that a model reads are plain, in its folder, and long enough.

The scanners' external data comes in; findings go out, and the names of files that are therefore
tensor data without a format.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from mlsecops.errors import MLSecOpsError
from mlsecops.findings import Finding, Severity
from mlsecops.loading.detection import Format
from mlsecops.loading.verdict import Examination, Verdict
from mlsecops.provenance.files.hub_cache import linked_blob

_VALUE: Final = re.compile(r"((?:.*/)?)d/[0-9a-f]{32}")


def external_data_findings(path: str, name: str, result: Examination) -> tuple[Finding, ...]:
    """Findings about the references of the model file at a path, with a name for findings."""
    ends: dict[str, int] = {}
    for wanted in result.external:
        ends[wanted.name] = max(wanted.end, ends.get(wanted.name, 0))
    scanned = {wanted.name for wanted in result.external if wanted.scanned}
    folder = Path(path).parent
    if ends and Path(path).name != PurePosixPath(name).name:  # a hub's link was followed
        folder = Path(os.path.realpath(Path(name).parent))
    return tuple(
        Finding(
            rule="outside-reference",
            severity=Severity.HIGH,
            message=f"reads {other!r}, which {problem}",
            where=other,
            artifact=name,
        )
        for other, end in ends.items()
        if (problem := _problem(folder, other, end, plain=other not in scanned)) is not None
    )


def tensor_data(results: Mapping[str, tuple[Verdict, Examination]]) -> set[str]:
    """Names of a folder's files that others of its files read as tensors."""
    found = {
        str(PurePosixPath(name).parent / wanted.name)
        for name, (_, result) in results.items()
        for wanted in result.external
        if not wanted.scanned
    }
    return found | set(_shards(results)) | set(_values(results))


def _shards(results: Mapping[str, tuple[Verdict, Examination]]) -> Iterator[str]:
    """Data of TensorFlow checkpoints: `x.data-00000-of-00001`, where `x.index` is an index."""
    for name in results:
        stem, dot, _ = name.rpartition(".data-")
        index = results.get(f"{stem}.index") if dot else None
        if index is not None and index[0].format == Format.TENSOR_INDEX:
            yield name


def _values(results: Mapping[str, tuple[Verdict, Examination]]) -> Iterator[str]:
    """Values of a TensorStore database: `d/` and a number, next to a manifest."""
    for name in results:
        match = _VALUE.fullmatch(name)
        manifest = results.get(f"{match[1]}manifest.ocdbt") if match else None
        if manifest is not None and manifest[0].format == Format.OCDBT:
            yield name


def _problem(folder: Path, name: str, end: int, *, plain: bool) -> str | None:
    place, status = folder, folder.lstat()
    for part in PurePosixPath(name).parts:
        place /= part
        try:
            status = os.lstat(place)
        except OSError:
            return "is missing; get the whole model"
        if stat.S_ISLNK(status.st_mode):
            try:
                blob = linked_blob(str(place))
            except MLSecOpsError:
                blob = None
            if blob is None:
                return "is a symlink; expected a plain file"
            status = Path(blob.path).lstat()
    if not plain and stat.S_ISDIR(status.st_mode):
        return None  # its files are scanned by themselves
    if not stat.S_ISREG(status.st_mode) or (plain and status.st_nlink != 1):
        return "is not a plain file (a folder, a device or a hard link)"
    if status.st_size < end:
        return f"has {status.st_size} bytes: expected {end} at least"
    return None
