"""Host allowlist for links, without parser differentials.

URL → host, or None where two common parsers could disagree: user info, a backslash, an escape, a
trailing dot or non-ASCII letters in the host, or another address in the path. An allowlist names
hosts, or all subdomains of one: `*.example.com`.

Source: WHATWG URL Standard (2025), section 4; RFC 3986; Tsai, "A New Era of SSRF" (2017).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from mlsecops._choices import several
from mlsecops.errors import UsageError

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}\.)*{_LABEL}"
# Letters and signs beyond ASCII that are no spaces, controls or surrogates: they cannot end a path.
_LETTER: Final = (
    r"[\u00a1-\u00ac\u00ae-\u167f\u1681-\u180a\u1810-\u1fff\u2010-\u2027\u2030-\u205e"
    r"\u2070-\u2fff\u3001-\ud7ff\uf900-\ufdff\ufe10-\ufefe\uff00-\uffef\U00010000-\U000dffff]"
)
_URL: Final = re.compile(
    rf"https://(?P<host>{_HOST}(?::[1-9][0-9]{{0,4}})?)"
    rf"(?:[/?#](?:[A-Za-z0-9._~:?#@!$*+,;=()\[\]'-]|{_LETTER}|/(?!/)|%[0-9A-Fa-f]{{2}}"
    r"|&(?!#?\w{1,32};))*)?",
    flags=re.IGNORECASE | re.ASCII,
)
_ENTRY: Final = re.compile(rf"(?:\*\.)?{_HOST}(?::[1-9][0-9]{{0,4}})?", flags=re.ASCII)
_DEFAULT: Final = ":443"  # port of https, which the URL Standard leaves out


def host_of(url: str) -> str | None:
    """Host of an HTTPS URL in lower case, with a port other than 443; None if it is ambiguous.

    Examples:
        >>> host_of("https://docs.example.com/a?b=c")
        'docs.example.com'
        >>> host_of("https://docs.example.com@evil.example/")
    """
    found = _URL.fullmatch(url)
    return None if found is None else found["host"].lower().removesuffix(_DEFAULT)


@dataclass(frozen=True, slots=True)
class Hosts:
    """An allowlist of hosts.

    Attributes:
        entries: `"docs.example.com"` or `"*.example.com"` (its subdomains, not itself), with
            `:port` unless it is 443; international names as `xn--…`.

    Examples:
        >>> hosts = Hosts.of(["*.example.com"])
        >>> hosts.allow("https://a.example.com/x"), hosts.allow("https://example.com/")
        (True, False)
    """

    entries: frozenset[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Parse an allowlist; raises `UsageError` if an entry is not a host."""
        given = several("hosts", entries, "hosts", str)
        known = frozenset(entry.lower().removesuffix(_DEFAULT) for entry in given)
        for entry in sorted(known):
            if not _ENTRY.fullmatch(entry):
                raise UsageError(
                    f"hosts: expected a host like docs.example.com or *.example.com, got {entry!r}"
                )
        return cls(known)

    def allow(self, url: str) -> bool:
        """Whether a URL unambiguously leads to one of the hosts over HTTPS."""
        host = host_of(url)
        if host is None:
            return False
        above = host.split(".")
        wild = ("*." + ".".join(above[level:]) for level in range(1, len(above)))
        return host in self.entries or any(entry in self.entries for entry in wild)
