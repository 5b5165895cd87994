"""Bounded decompression: the plain bytes of a compressed file, up to a limit.

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
from typing import Any, Final

from mlsecops._bounded.budget import spend
from mlsecops._extras import require
from mlsecops.errors import FormatRefused
from mlsecops.loading.limits import MIB, PIECE, Limits
from mlsecops.loading.snapshot import Source

_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"]\0\0": "lzma",
    b"\x04\x22M\x18": "lz4",
    **dict.fromkeys((b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), "zlib"),
}
_XZ_MEMORY: Final = 512 * MIB  # bytes; chosen: xz -9 needs 65 MiB to decompress (xz manual)
_UNREADABLE: Final = (zlib.error, lzma.LZMAError, OSError, EOFError)


class _Zlib:
    """zlib's decompressor with the interface of bz2's and lzma's."""

    def __init__(self, bits: int) -> None:
        self._inner = zlib.decompressobj(bits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, max_length)


_EXPANDERS: Final[dict[str, Callable[[], Any]]] = {
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY),
    "lz4": lambda: require("lz4.frame").LZ4FrameDecompressor(),
}


def compression(head: bytes) -> str | None:
    r"""Name of a file's compression by its first bytes, or None.

    Examples:
        >>> compression(b"\x1f\x8b\x08\x00")
        'gzip'
    """
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def peek(source: Source, kind: str, count: int = 64) -> bytes:
    """First plain bytes; none where they cannot be read."""
    if kind == "lz4":
        return b""
    try:
        return bytes(_EXPANDERS[kind]().decompress(source.head(), count))
    except _UNREADABLE:
        return b""


@contextlib.contextmanager
def expanded(source: Source, *, limits: Limits) -> Iterator[Source]:
    """Hold a compressed file's plain bytes until the block ends.

    Raises:
        FormatRefused: It is malformed, or bytes follow the compressed ones.
        LimitExceeded: It expands too far.
        MissingExtra: Its compression needs a package that is not installed.
    """
    kind = compression(source.head(8))
    if kind is None:
        raise FormatRefused(f"{source.name}: expected compressed bytes")
    with tempfile.NamedTemporaryFile(prefix="mlsecops-") as held:
        total = 0
        for piece in _pieces(source, _EXPANDERS[kind](), kind):
            total += len(piece)
            limits.require_expansion(source.size, total, where=source.name)
            spend(len(piece), where=source.name)
            held.write(piece)
        held.flush()
        yield Source(name=source.name, path=held.name, size=total)


def _pieces(source: Source, expander: Any, kind: str) -> Iterator[bytes]:
    with source.stream() as stream:
        try:
            while not expander.eof:
                data = stream.read(PIECE) if expander.needs_input else b""
                if not data and expander.needs_input:
                    raise FormatRefused(f"{source.name}: {kind} stream ends early; get it again")
                yield expander.decompress(data, PIECE)
        except (*_UNREADABLE, RuntimeError) as error:
            raise FormatRefused(f"{source.name}: not readable as {kind}: {error}") from error
        if expander.unused_data or stream.read(1):
            raise FormatRefused(
                f"{source.name}: bytes after the compressed ones; expected them to end the file"
            )
