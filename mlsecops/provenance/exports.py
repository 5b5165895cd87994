"""Text of `sha256sum`: entries of a manifest, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mlsecops.errors import FormatRefused, UsageError
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.entry import Entry

_SUM_LINE: Final = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPE: Final = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def sha256sums(entries: Iterable[Entry]) -> str:
    """Text that `sha256sum -c` checks, with names escaped as it escapes them."""
    return "".join(_sum_line(entry) for entry in entries)


def read_sha256sums(text: str) -> tuple[Entry, ...]:
    """Read the text that `sha256sum` prints; sorted by name."""
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise FormatRefused(f"line {number}: expected '<sha256>  <name>', got {line[:80]!r}")
        entry = _sum_entry(*match.groups())
        if entries.setdefault(entry.name, entry) is not entry:
            raise FormatRefused(f"line {number}: {entry.name!r} is repeated; remove one line")
    return tuple(entries[key] for key in sorted(entries))


def _sum_line(entry: Entry) -> str:
    if entry.digest.algorithm != "sha256":
        raise UsageError(f"sha256sums: expected sha256 digests, got {entry.digest.algorithm}")
    escaped = "".join(_ESCAPES.get(character, character) for character in entry.name)
    return f"{'' if escaped == entry.name else chr(92)}{entry.digest.hex}  {escaped}\n"


def _sum_entry(mark: str, value: str, name: str) -> Entry:
    if mark:
        name = re.sub(r"\\[\\nr]", lambda match: _UNESCAPE[match[0]], name)
    return Entry(name, Digest("sha256", bytes.fromhex(value)))
