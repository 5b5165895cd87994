"""Redaction of untrusted text for reports.

untrusted text → secrets, control characters and bidirectional controls replaced → bounded text
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

REDACTED: Final = "[redacted]"
MESSAGE: Final = 1000  # characters of a message; chosen: a long paragraph, the rest is cut
PLACE: Final = 300  # characters of an artifact's name or a place; chosen: a long path
_NAMES_A_SECRET: Final = re.compile(
    r"(?i)(?:^|[^a-z])(?:api[_-]?key|access[_-]?key|secret|passw(?:or)?d|passphrase|private[_-]?key|"
    r"credentials?|(?:auth|access|bearer|refresh|session|hf|hub|github)[_-]?token)(?:$|[^a-z])"
)
_SECRETS: Final = {
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?-----END[^\n]*|.*)"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "API key": re.compile(r"\b(?:sk|rk|pk)[-_](?:[A-Za-z]+[-_])*[A-Za-z0-9]{16,}"),
    "Google key": re.compile(r"\bAIza[\w-]{30,}"),
    "JSON web token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    "password in an address": re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),
    "named secret": re.compile(
        r"(?i)\b(?:api[_-]?key|secret|passw(?:or)?d|token)\s*[=:]\s*['\"]?[^\s'\"&,;]{6,}"
    ),
}
_REPLACEMENT: Final = "\ufffd"
_SEARCHED: Final = 100_000  # characters; chosen: bounds the patterns' time, the rest is cut


def secrets_in(text: str) -> tuple[str, ...]:
    """Kinds of secrets in a text, never the secrets themselves.

    Examples:
        >>> secrets_in("token=abcdefgh")
        ('named secret',)
    """
    searched = text[:_SEARCHED]
    return tuple(kind for kind, pattern in _SECRETS.items() if pattern.search(searched))


def shown(value: Any, *, most: int = 96) -> str:
    """Text of an untrusted value for a message, at most `most` characters long.

    Examples:
        >>> shown("password=hunter22")
        '[redacted]'
    """
    text = str(value)[:_SEARCHED]
    for pattern in _SECRETS.values():
        text = pattern.sub(REDACTED, text)
    if not text.isprintable():
        text = "".join(each if _is_visible(each) else _REPLACEMENT for each in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _is_visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def without_secrets(name: str, value: Any) -> str:
    """The value of a parameter as text, or `[redacted]` if it may be a secret.

    Examples:
        >>> without_secrets("hf_token", "abc"), without_secrets("max_tokens", 5)
        ('[redacted]', '5')
    """
    text = str(value)
    return REDACTED if _NAMES_A_SECRET.search(name) or secrets_in(text) else text
