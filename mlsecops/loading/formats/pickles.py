"""What pickled files would do: bare pickles, joblib's, and torch's old and new containers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final, cast

from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding, Severity
from mlsecops.loading.containers.compression import expanded
from mlsecops.loading.containers.zip_archive import Archive, archive
from mlsecops.loading.limits import Limits
from mlsecops.loading.pickle_vm.result import Walk
from mlsecops.loading.pickle_vm.walker import Walker
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

LEGACY_PICKLES: Final = 5
"""Magic number, protocol version, system facts, the object, the storages' keys; then raw bytes."""

_TORCH_ENTRIES: Final = frozenset(
    {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment"}
)
_IN_MEMORY: Final = 64 << 20


class Clamped(io.BufferedIOBase):
    """A stream that is never asked for more than it has, whatever length an opcode declares."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream, self._size = stream, size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most the bytes that are left."""
        left = max(0, self._size - self._stream.tell())
        return self._stream.read(left if size is None or size < 0 else min(size, left))

    def readline(self, size: int | None = -1, /) -> bytes:
        """One line."""
        return self._stream.readline(-1 if size is None else size)

    def tell(self) -> int:
        """Position."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move."""
        return self._stream.seek(offset, whence)


def examine_pickle(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk every pickle of a bare or joblib file.

    A file with joblib's raw arrays is walked twice, as joblib reads it and as plain `pickle`
    would, because the arrays' bytes are opcodes to the latter.

    Raises:
        FormatRefused: It is no pickle, or something follows the last one.
        LimitExceeded: Too many opcodes.
    """
    walker = Walker(
        allowed=allowed, limits=limits, artifact=source.name, where="pickle", skip_arrays=True
    )
    with source.stream() as stream, _findings_first(walker):
        _to_the_end(walker, _clamped(stream, source.size), source)
    if walker.walk.arrays:
        walker.walk.findings += _as_plain_pickle(source, limits, allowed)
    return _examination(walker.walk)


def examine_joblib(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk the pickles of a file that joblib compressed (see `examine_pickle`).

    Raises:
        FormatRefused: It is malformed.
        LimitExceeded: It holds far more than it stores, or too many opcodes.
        MissingExtra: Its compression needs a package that is not installed.
    """
    with expanded(source, limits=limits) as plain:
        return examine_pickle(plain, limits, allowed)


def examine_torch_legacy(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Walk the pickles at the head of a file that torch wrote before 1.6.

    Raises:
        FormatRefused: They are not all there.
        LimitExceeded: Too many opcodes.
    """
    walker = Walker(
        allowed=allowed,
        limits=limits,
        artifact=source.name,
        where="pickle",
        persistent="allow",
    )
    with source.stream() as stream, _findings_first(walker):
        clamped = _clamped(stream, source.size)
        for _ in range(LEGACY_PICKLES):
            walker.run(clamped)
    return _examination(walker.walk)


def examine_torch(source: Source, limits: Limits, allowed: Collection[str]) -> Examination:
    """Check a torch archive's entries and walk its pickle.

    Raises:
        FormatRefused: It is malformed, or not laid out as torch writes it.
        LimitExceeded: Too large for what it stores, or too many opcodes.
        UnsafeContent: An entry leaves the archive.
    """
    with archive(source, limits=limits) as opened:
        root = _require_layout(opened, source)
        data = opened.read(f"{root}/data.pkl", limits=limits)
    walker = Walker(
        allowed=allowed,
        limits=limits,
        artifact=source.name,
        where="data.pkl",
        persistent="allow",
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
    for name, entry in opened.entries.items():
        inner = name.partition("/")[2]
        parts = PurePosixPath(inner).parts
        storage = len(parts) == 2 and parts[0] == "data" and parts[1].isdigit()  # noqa: PLR2004 - data/N
        if inner not in _TORCH_ENTRIES and not storage and parts[:1] != (".data",):
            raise FormatRefused(f"{source.name}: entry {name!r} is none that torch.save writes")
        if not entry.stored:
            raise FormatRefused(
                f"{source.name}: entry {name!r} is compressed; torch stores plainly"
            )
    if f"{root}/data.pkl" not in opened.entries:
        raise FormatRefused(f"{source.name}: no data.pkl under that exact name")
    return root


@contextlib.contextmanager
def _findings_first(walker: Walker) -> Iterator[None]:
    """Of a pickle that does harm and then breaks off, tell the harm."""
    try:
        yield
    except FormatRefused:
        if not walker.walk.findings:
            raise


def _to_the_end(walker: Walker, stream: BinaryIO, source: Source) -> None:
    while walker.run(stream).end < source.size:
        pass  # every run that returns has read at least its STOP


def _as_plain_pickle(source: Source, limits: Limits, allowed: Collection[str]) -> list[Finding]:
    walker = Walker(
        allowed=allowed, limits=limits, artifact=source.name, where="pickle read without joblib"
    )
    # Plain pickle stops with an error somewhere: what counts is what it did before.
    with source.stream() as stream, contextlib.suppress(FormatRefused):
        walker.run(_clamped(stream, source.size))
    return [found for found in walker.walk.findings if found.severity is Severity.CRITICAL]


def _clamped(stream: BinaryIO, size: int) -> BinaryIO:
    if size <= _IN_MEMORY:
        return io.BytesIO(stream.read())
    return cast("BinaryIO", Clamped(stream, size))


def _examination(walk: Walk) -> Examination:
    return Examination(findings=tuple(walk.findings), globals=frozenset(walk.globals))
