"""Pickle scanner: bare pickles, joblib files, and torch's zip and legacy files.

A file comes in; its pickles are executed symbolically (`pickle_vm`), and their findings go out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final, cast

from mlsecops.errors import FormatRefused
from mlsecops.findings import Severity
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.zip_archive import Archive, archive
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.pickle_vm.walker import Walk, Walker
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

LEGACY_PICKLES: Final = 5  # pickles; torch.serialization, `_legacy_save`, before the raw storages
_TORCH_ENTRIES: Final = frozenset(
    {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment"}
)
_IN_MEMORY: Final = 64 * MIB  # bytes; chosen: larger files are read from disk, opcode by opcode


class _Clamped:
    """Stream whose reads end with the file, whatever length an opcode declares."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.readline, self.tell, self.seek = stream.readline, stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        return self._stream.read(max(0, min(size, self._size - self._stream.tell())))


def examine_pickle(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk every pickle of a bare or joblib file.

    A file with joblib's raw arrays is walked twice: as joblib reads it, and as plain `pickle`
    would, which executes the arrays' bytes as opcodes.
    """
    walker = Walker(
        allowed=allowed, limits=limits, artifact=source.name, where="pickle", skip_arrays=True
    )
    with _pickles(source) as stream, _findings_first(walker):
        while walker.run(stream).end < source.size:
            pass  # every run that returns has read at least its STOP
    if walker.walk.arrays:
        plain = Walker(
            allowed=allowed, limits=limits, artifact=source.name, where="pickle read without joblib"
        )
        # Plain pickle fails at some array; the effects before that matter.
        with _pickles(source) as stream, contextlib.suppress(FormatRefused):
            plain.run(stream)
        critical = [each for each in plain.walk.findings if each.severity is Severity.CRITICAL]
        walker.walk.findings += critical
    return _examination(walker.walk)


def examine_joblib(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk the pickles of a file that joblib compressed (see `examine_pickle`)."""
    with expanded(source, limits=limits) as plain:
        return examine_pickle(plain, limits, allowed)


def examine_torch_legacy(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk the pickles at the start of a file that torch wrote before 1.6."""
    walker = Walker(
        allowed=allowed, limits=limits, artifact=source.name, where="pickle", persistent="allow"
    )
    with _pickles(source) as stream, _findings_first(walker):
        for _ in range(LEGACY_PICKLES):
            walker.run(stream)
    return _examination(walker.walk)


def examine_torch(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check a torch archive's entries and walk its pickle."""
    with archive(source, limits=limits) as opened:
        root = _require_layout(opened, source)
        data = opened.read(f"{root}/data.pkl", limits=limits)
    walker = Walker(
        allowed=allowed, limits=limits, artifact=source.name, where="data.pkl", persistent="allow"
    )
    with _findings_first(walker):
        if walker.run(io.BytesIO(data)).end != len(data):
            raise FormatRefused(f"{source.name}: data.pkl: bytes after the pickle's end")
    return _examination(walker.walk)


def _require_layout(opened: Archive, source: Source) -> str:
    roots = {name.partition("/")[0] for name in opened.entries}
    if len(roots) != 1:
        raise FormatRefused(f"{source.name}: expected one folder in the archive, got {len(roots)}")
    (root,) = roots
    for name in opened.entries:
        inner = name.partition("/")[2]
        parts = PurePosixPath(inner).parts
        storage = len(parts) == 2 and parts[0] == "data" and parts[1].isdigit()  # noqa: PLR2004 - data/N
        if inner not in _TORCH_ENTRIES and not storage and parts[:1] != (".data",):
            raise FormatRefused(f"{source.name}: entry {name!r} is not one that torch.save writes")
        opened.stored(name)
    if f"{root}/data.pkl" not in opened.entries:
        raise FormatRefused(f"{source.name}: no data.pkl under that exact name")
    return root


@contextlib.contextmanager
def _findings_first(walker: Walker) -> Iterator[None]:
    """Report the findings of a malformed pickle in place of the error, where there are some."""
    try:
        yield
    except FormatRefused:
        if not walker.walk.findings:
            raise


@contextlib.contextmanager
def _pickles(source: Source) -> Iterator[BinaryIO]:
    with source.stream() as stream:
        if source.size <= _IN_MEMORY:
            yield io.BytesIO(stream.read())
        else:
            yield cast("BinaryIO", _Clamped(stream, source.size))


def _examination(walk: Walk) -> Examination:
    return Examination(findings=tuple(walk.findings), globals=frozenset(walk.globals))
