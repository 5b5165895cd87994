"""Shards of files: spans of one size, named `path:start:end`.

Source: OpenSSF Model Signing specification 1.0, serialization method "shards".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlsecops.errors import UsageError
from mlsecops.provenance.files.pieces import Found, Piece


def shard_name(name: str, start: int, end: int) -> str:
    """Name of a shard of a file: the bytes from `start` up to `end`."""
    return f"{name}:{start}:{end}"


def shard_span(name: str) -> tuple[int, int]:
    """First byte of a named shard (`path:start:end`), and the byte after its last."""
    _, *span = name.rsplit(":", 2)
    try:
        start, end = (int(number) for number in span)
    except ValueError as error:
        raise UsageError(f"not a shard: expected 'path:start:end', got {name!r}") from error
    return start, end


def shard_size_of(value: object) -> int | None:
    """Check the size of shards, in bytes; None for whole files."""
    if value is None or (type(value) is int and value > 0):
        return value
    raise UsageError(f"shard_size: expected a whole number of bytes above 0, got {value!r}")


def pieces_of(files: Mapping[str, Found], shard_size: int | None) -> list[tuple[str, Piece]]:
    """Named pieces of files, in code point order: each file whole, or each of its shards."""
    if shard_size is None:
        return [(name, Piece(found)) for name, found in sorted(files.items())]
    return sorted(_shards(files, shard_size), key=lambda item: item[0])


def _shards(files: Mapping[str, Found], size: int) -> Iterator[tuple[str, Piece]]:
    for name, found in files.items():
        for start in range(0, found.size, size):
            end = min(start + size, found.size)
            yield shard_name(name, start, end), Piece(found, start, end)
