"""Pickle scanner: bare pickles, joblib files, and torch's zip and legacy files.

A file comes in; its pickles are executed symbolically (`pickle_vm`), and their findings go out.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, Final, cast

from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.findings import Severity
from mlsecops.loading.allowed import pickle_globals
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.zip_archive import Archive, archive
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.pickle_vm.torch_tensors import storage_bytes
from mlsecops.loading.pickle_vm.walk import Walk
from mlsecops.loading.pickle_vm.walker import Walker
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked

LEGACY_PICKLES: Final = 5  # pickles; torch.serialization, `_legacy_save`, before the raw storages
_NUMBER: Final = re.compile(rb"\d{1,60}\n?")
_TORCH_ENTRIES: Final = {
    "byteorder": re.compile(rb"little|big"),
    **dict.fromkeys(
        ("version", ".format_version", ".storage_alignment", ".data/serialization_id"), _NUMBER
    ),
}
"""Entry of a torch archive besides its pickle and storages → its content."""
_LONGEST: Final = 100  # bytes; chosen: an entry of a number has at most 61
_IN_MEMORY: Final = 64 * MIB  # bytes; chosen: larger files are read from disk, opcode by opcode


class _Clamped:
    """Stream whose reads end with the file, whatever length an opcode declares."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.readline, self.tell, self.seek = stream.readline, stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        return self._stream.read(max(0, min(size, self._size - self._stream.tell())))


def _walker(*, audited: Collection[str], **options: Any) -> Walker:
    """Walker of the built-in list and the names that the caller has audited."""
    allowed = pickle_globals() | frozenset(audited) if audited else pickle_globals()
    return Walker(allowed=allowed, audited=audited, **options)


def examine_pickle(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Walk every pickle of a bare or joblib file.

    A file with joblib's raw arrays is walked twice: as joblib reads it, and as plain `pickle`
    would, which executes the arrays' bytes as opcodes.
    """
    walker = _walker(
        audited=audited, limits=limits, artifact=source.name, where="pickle", skip_arrays=True
    )
    with _pickles(source) as stream, _findings_first(walker):
        while walker.run(stream).end < source.size:
            pass  # every run that returns has read at least its STOP
    if walker.walk.arrays:
        plain = _walker(
            audited=audited, limits=limits, artifact=source.name, where="pickle read without joblib"
        )
        # Plain pickle fails at some array; the effects before that matter.
        with _pickles(source) as stream, contextlib.suppress(FormatRefused):
            plain.run(stream)
        critical = [each for each in plain.walk.findings if each.severity is Severity.CRITICAL]
        walker.walk.findings += critical
    return _examination(walker.walk)


def examine_joblib(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Walk the pickles of a file that joblib compressed (see `examine_pickle`)."""
    with expanded(source, limits=limits) as plain:
        return examine_pickle(plain, limits, audited)


def examine_torch_legacy(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Walk the pickles at the start of a file that torch wrote before 1.6."""
    walker = _walker(
        audited=audited, limits=limits, artifact=source.name, where="pickle", persistent="allow"
    )
    with _pickles(source) as stream, _findings_first(walker):
        for _ in range(LEGACY_PICKLES):
            walker.run(stream)
        _require_stored(walker.walk, source)
    return _examination(walker.walk)


def examine_torch(source: Source, limits: Limits, audited: Collection[str]) -> Examination:
    """Check a torch archive's entries and walk its pickle."""
    with archive(source, limits=limits) as opened:
        root = _require_layout(opened, source)
        data = opened.read(f"{root}/data.pkl", limits=limits)
        storages = _storages(opened, root)
    walker = _walker(
        audited=audited,
        limits=limits,
        artifact=source.name,
        where="data.pkl",
        persistent="allow",
        storages=storages,
    )
    with _findings_first(walker):
        if walker.run(io.BytesIO(data)).end != len(data):
            raise FormatRefused(f"{source.name}: data.pkl: bytes after the pickle's end")
    used = {pid[2] for pid in walker.walk.storages if isinstance(pid[2], str)}
    stray = [key for key in storages if key not in used]
    unused = ("a storage to which the pickle does not refer", f"{root}/data/")
    return _examination(walker.walk) | Examination(
        unchecked=tuple(Unchecked(what=f"{unused[1]}{key}", why=unused[0]) for key in stray)
    )


def _storages(opened: Archive, root: str) -> dict[str, int]:
    """Key → bytes of each storage in an archive."""
    start = f"{root}/data/"
    return {
        name.removeprefix(start): entry.size
        for name, entry in opened.entries.items()
        if name.startswith(start)
    }


def _require_stored(walk: Walk, source: Source) -> None:
    """Demand that a legacy file, whose storages follow the pickles, is long enough for them."""
    sizes = {pid[2]: storage_bytes(pid) for pid in walk.storages if isinstance(pid[2], str)}
    for pid in walk.storages:
        if sizes.get(pid[2], -1) != storage_bytes(pid):
            raise FormatRefused(f"{source.name}: one storage with two sizes")
    stored = source.size - walk.end
    if sum(sizes.values()) > stored:
        raise LimitExceeded(
            f"{source.name}: storages of {sum(sizes.values())} bytes: expected at most the "
            f"{stored} bytes behind the pickles"
        )


def _require_layout(opened: Archive, source: Source) -> str:
    roots = {name.partition("/")[0] for name in opened.entries}
    if len(roots) != 1:
        raise FormatRefused(f"{source.name}: expected one folder in the archive, got {len(roots)}")
    (root,) = roots
    for name in opened.entries:
        inner = name.partition("/")[2]
        folder, _, key = inner.partition("/")
        known = inner == "data.pkl" or (folder == "data" and key.isdigit())
        opened.stored(name)
        if not known and not _is_note(opened, name, inner):
            raise FormatRefused(f"{source.name}: entry {name!r} is not one that torch.save writes")
    if f"{root}/data.pkl" not in opened.entries:
        raise FormatRefused(f"{source.name}: no data.pkl under that exact name")
    return root


def _is_note(opened: Archive, name: str, inner: str) -> bool:
    """Whether an entry is one of the short texts that torch adds to pickle and storages."""
    text = _TORCH_ENTRIES.get(inner)
    if text is None or opened.entries[name].size > _LONGEST:
        return False
    return text.fullmatch(opened.read_stored(name)) is not None


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
    return Examination(
        findings=tuple(walk.findings),
        unchecked=tuple(walk.unchecked.values()),
        globals=frozenset(walk.globals),
    )
