"""What a compressed file holds, piece by piece and never more than a limit allows.

A Source comes in; a temporary file with its plain bytes goes out.

Source: RFC 1950 (zlib), RFC 1952 (gzip), the xz file format 1.2.1, the bzip2 format, lz4 frames.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading.limits import MIB, Limits
from mlsecops.loading.snapshot import Source

_PIECE: Final = 1 << 20
_ALWAYS_FINE: Final = 64 * MIB
"""Arrays of zeros shrink a thousandfold: below this size a ratio tells nothing."""
_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"]\0\0": "lzma",
    b"\x04\x22M\x18": "lz4",
    b"x\x01": "zlib",
    b"x\x5e": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}


class _Zlib:
    """zlib's own object, with the interface of the others."""

    def __init__(self, bits: int) -> None:
        self._inner = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, max_length)


_EXPANDERS: Final[dict[str, Callable[[], Any]]] = {
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=512 * MIB),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=512 * MIB),
    "lz4": lambda: require("lz4.frame").LZ4FrameDecompressor(),
}


def compression(head: bytes) -> str | None:
    """Name of the compression that a file's first bytes tell; None when there is none."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def peek(source: Source, kind: str, count: int = 64) -> bytes:
    """First plain bytes; none when they cannot be read."""
    if kind == "lz4":
        return b""
    try:
        return bytes(_EXPANDERS[kind]().decompress(source.head(), count))
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        return b""


@contextlib.contextmanager
def expanded(source: Source, *, limits: Limits) -> Iterator[Source]:
    """Hold a compressed file's plain bytes for as long as the block lasts.

    Raises:
        FormatRefused: It is malformed, or something follows the compressed bytes.
        LimitExceeded: It holds far more than it stores.
        MissingExtra: Its compression needs a package that is not installed.
    """
    kind = compression(source.head(8))
    if kind is None:
        raise FormatRefused(f"{source.name}: expected compressed bytes")
    most = min(limits.file_bytes, max(limits.ratio * source.size, _ALWAYS_FINE))
    with tempfile.NamedTemporaryFile(prefix="mlsecops-") as held:
        total = 0
        for piece in _pieces(source, _EXPANDERS[kind](), kind):
            total += len(piece)
            if total > most:
                raise LimitExceeded(
                    f"{source.name}: over {most} bytes from {source.size} of {kind}; "
                    "raise Limits(ratio=…) if this file is meant to be so large"
                )
            held.write(piece)
        held.flush()
        yield Source(name=source.name, path=str(Path(held.name)), size=total)


def _pieces(source: Source, expander: Any, kind: str) -> Iterator[bytes]:
    with source.stream() as stream:
        try:
            while not expander.eof:
                data = stream.read(_PIECE) if expander.needs_input else b""
                if not data and expander.needs_input:
                    raise FormatRefused(f"{source.name}: {kind} that breaks off")
                yield expander.decompress(data, _PIECE)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
            raise FormatRefused(f"{source.name}: not readable as {kind}: {error}") from error
        if expander.unused_data or stream.read(1):
            raise FormatRefused(
                f"{source.name}: bytes after the compressed ones; expected them to end the file"
            )
