"""Where does a link lead, if every reader must agree?

A URL comes in; out comes its host, or nothing if any two of the usual parsers could differ: what
carries a user's name, a backslash, an escape, a trailing dot or letters beyond ASCII in its host,
or another address in its path, is no URL here. Allow-lists name hosts, or all hosts below one:
`*.example.com`.

Source: WHATWG URL Standard (2025), section 4; RFC 3986; Tsai, "A New Era of SSRF" (2017).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from mlsecops.errors import UsageError

__all__ = ["Hosts", "host_of"]

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}\.)*{_LABEL}"
_URL: Final = re.compile(
    rf"https://(?P<host>{_HOST}(?::[1-9][0-9]{{0,4}})?)"
    r"(?:[/?#](?:[A-Za-z0-9._~:?#@!$*+,;=-]|/(?!/)|%[0-9A-Fa-f]{2}|&(?!#?\w{1,32};))*)?",
    flags=re.IGNORECASE | re.ASCII,
)
_ENTRY: Final = re.compile(rf"(?:\*\.)?{_HOST}(?::[1-9][0-9]{{0,4}})?", flags=re.ASCII)


def host_of(url: str) -> str | None:
    """The host, with its port if it names one, in lower case; None if it could be read otherwise.

    >>> host_of("https://docs.example.com/a?b=c")
    'docs.example.com'
    >>> host_of("https://docs.example.com@evil.example/") is None
    True
    """
    found = _URL.fullmatch(url)
    return None if found is None else found["host"].lower()


@dataclass(frozen=True, slots=True)
class Hosts:
    """An allow-list of hosts.

    Attributes:
        entries: `"docs.example.com"`, `"*.example.com"` (all below it, not itself), each with
            `:port` where it is another than 443; international names as `xn--…`.
    """

    entries: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Read an allow-list.

        Raises:
            UsageError: An entry is no host.
        """
        if isinstance(entries, str):
            raise UsageError(
                f"hosts: expected several, got the text {entries!r}; write ({entries!r},)"
            )
        known = frozenset(entry.lower() for entry in entries)
        for entry in sorted(known):
            if not _ENTRY.fullmatch(entry):
                raise UsageError(
                    f"hosts: expected a host like docs.example.com or *.example.com, got {entry!r}"
                )
        return cls(known)

    def allow(self, url: str) -> bool:
        """Whether a URL leads to one of them, over HTTPS, however it is read."""
        host = host_of(url)
        if host is None:
            return False
        above = host.split(".")
        wild = ("*." + ".".join(above[level:]) for level in range(1, len(above)))
        return host in self.entries or any(entry in self.entries for entry in wild)
