"""Right edge of a log: what the next entries are added to.

edge + entries → longer edge, and the bundles and tiles that it needs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlsecops.audit.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, bundle_key, encode_bundle, tile_key
from mlsecops.audit.tlog.tree import fold
from mlsecops.provenance.merkle import Peaks, leaf_hash

__all__ = ["Edge"]

Write = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Edge:
    """The partial entry bundle and the partial tile of each level.

    Attributes:
        size: Number of entries of the log.
        entries: Entries of the partial bundle.
        levels: Hashes of the partial tiles, level 0 first; a level may have none.
    """

    EMPTY: ClassVar[Edge]

    size: int
    entries: tuple[bytes, ...]
    levels: tuple[tuple[bytes, ...], ...]

    @property
    def peaks(self) -> Peaks:
        """Compact range of the log."""
        hashes: list[bytes] = []
        for level in reversed(self.levels):
            start = 0
            for bit in reversed(range(TILE_HEIGHT)):
                if len(level) >> bit & 1:
                    hashes.append(fold(level[start : start + (1 << bit)]))
                    start += 1 << bit
        return Peaks(self.size, tuple(hashes))

    def extended(self, entries: Sequence[bytes]) -> tuple[Edge, list[Write]]:
        """The edge after further entries, and the bundles and tiles to write, in order."""
        grown, size = list(self.entries), self.size
        levels = [list(level) for level in self.levels]
        writes: list[Write] = []
        for entry in entries:
            grown.append(entry)
            size += 1
            _add(levels, 0, leaf_hash(entry))
            if size % TILE_WIDTH == 0:
                writes.append((bundle_key(size // TILE_WIDTH - 1), encode_bundle(grown)))
                grown.clear()
                writes.extend(_full(levels, size))
        edge = Edge(size, tuple(grown), tuple(tuple(level) for level in levels))
        before = dict(self.partial())
        writes.extend(write for write in edge.partial() if write[0] not in before)
        return edge, writes

    def partial(self) -> Iterator[Write]:
        """The partial bundle and tiles."""
        if self.entries:
            index, width = divmod(self.size, TILE_WIDTH)
            yield bundle_key(index, width), encode_bundle(self.entries)
        for level, hashes in enumerate(self.levels):
            if hashes:
                index = self.size >> TILE_HEIGHT * (level + 1)
                yield tile_key(level, index, len(hashes)), b"".join(hashes)


Edge.EMPTY = Edge(0, (), ())


def _add(levels: list[list[bytes]], level: int, digest: bytes) -> None:
    if len(levels) == level:
        levels.append([])
    levels[level].append(digest)


def _full(levels: list[list[bytes]], size: int) -> Iterator[Write]:
    """Full tiles at the edge, which become a hash of the level above."""
    for level in range(len(levels) + 1):
        if level == len(levels) or len(levels[level]) < TILE_WIDTH:
            return
        index = (size >> TILE_HEIGHT * (level + 1)) - 1
        yield tile_key(level, index), b"".join(levels[level])
        _add(levels, level + 1, fold(levels[level]))
        levels[level].clear()
