"""Secret detection: names of parameters, and shapes of values, that should not be published.

name, value → kinds of secrets → `[redacted]` in provenance, bills of materials and reports

The shapes are those of well-known services, and words that look random. A secret without a telling
name or shape passes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, Final

REDACTED: Final = "[redacted]"
_SEARCHED: Final = 100_000  # characters; chosen: bounds the patterns' time, the rest is cut
_SECRETS: Final = {
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?-----END[^\n]*|.*)"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    "GitLab token": re.compile(r"\bglpat-[\w-]{16,}"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "PyPI token": re.compile(r"\bpypi-[\w-]{16,}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "API key": re.compile(r"\b(?:sk|rk|pk)[-_](?:[A-Za-z0-9]{1,20}[-_]){0,4}[A-Za-z0-9]{16,}"),
    "Google key": re.compile(r"\bAIza[\w-]{30,}"),
    "JSON web token": re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    "bearer token": re.compile(r"(?i)\b(?:bearer|basic) +[\w.~+/-]{16,}=*"),
    "signed address": re.compile(r"(?i)[?&](?:sig|x-amz-signature|x-goog-signature)=[\w%]{16,}"),
    "password in an address": re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),
    "named secret": re.compile(
        r"(?i)\b(?:api[_-]?key|account[_-]?key|secret|passw(?:or)?d|pwd|token)\s*[=:]\s*['\"]?"
        r"[^\s'\"&,;]{6,}"
    ),
}
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS: Final = frozenset(
    ["password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "credential",
     "credentials", "apikey", "authtoken", "accesskey", "privatekey", "secretkey"]
)  # fmt: skip
_BEFORE_KEY: Final = frozenset(
    ["api", "access", "private", "secret", "signing", "encryption", "account", "auth", "ssh",
     "subscription"]
)  # fmt: skip
_BEFORE_TOKEN: Final = frozenset(
    ["auth", "access", "bearer", "refresh", "session", "security", "hf", "hub", "huggingface",
     "github", "gitlab", "api", "id", "csrf", "oauth", "slack", "wandb", "bot", "personal", "user"]
)  # fmt: skip
_OF_TOKENIZERS: Final = frozenset(
    ["pad", "eos", "bos", "unk", "mask", "cls", "sep", "sos", "start", "end", "stop", "begin",
     "special", "image", "audio", "video", "extra", "prefix", "suffix", "middle", "first", "last",
     "next", "per", "boundary", "newline", "space"]
)  # fmt: skip
"""Words before "token" in the settings of tokenizers, whose values are published."""
_RUN: Final = re.compile(r"[A-Za-z0-9+/=]{24,}")
_DIGEST: Final = re.compile(r"\bsha(?:256|384|512)-$")
_CHANGES: Final = 0.45  # share of neighbours of another kind; random base62 has 0.62, words 0.4


def secrets_in(text: str) -> tuple[str, ...]:
    """Kinds of secrets in a text, never the secrets themselves.

    Examples:
        >>> secrets_in("token=abcdefgh")
        ('named secret',)
    """
    searched = text[:_SEARCHED]
    return tuple(kind for kind, pattern in _SECRETS.items() if pattern.search(searched))


def cut(text: str) -> str:
    """A text, at most as long as is searched, with `[redacted]` for each secret in it.

    Examples:
        >>> cut("password=hunter22")
        '[redacted]'
    """
    text = text[:_SEARCHED]
    for pattern in _SECRETS.values():
        text = pattern.sub(REDACTED, text)
    return text


def names_a_secret(name: str) -> bool:
    """Whether a parameter of this name probably holds a secret.

    Examples:
        >>> names_a_secret("hf_token"), names_a_secret("max_tokens"), names_a_secret("pad_token")
        (True, False, False)
    """
    words = _words(name)
    pairs = list(pairwise(words))
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or any(last in {"key", "keys"} and first in _BEFORE_KEY for first, last in pairs)
        or any(last in {"token", "tokens"} and first in _BEFORE_TOKEN for first, last in pairs)
        or (words[-1:] == ["token"] and (words[-2:-1] or [""])[0] not in _OF_TOKENIZERS)
    )


def looks_random(text: str) -> bool:
    """Whether a text has a word of letters of both cases and digits that looks random.

    Digests in hexadecimal, and those of subresource integrity (`sha256-…`), do not.

    Examples:
        >>> looks_random("x7Kp2mQ9vR4tB8nW3zL6cY1d"), looks_random("Llama-3-8B-Instruct-GGUF")
        (True, False)
    """
    searched = text[:_SEARCHED]
    return any(
        _random(found.group()) and not _DIGEST.search(searched[: found.start()][-8:])
        for found in _RUN.finditer(searched)
    )


def is_secret(name: str, value: object) -> bool:
    """Whether a parameter's value may be a secret, by its name or its shape.

    Examples:
        >>> is_secret("lr", 0.1), is_secret("api_key", "x"), is_secret("use_auth_token", True)
        (False, True, False)
    """
    if value is None or isinstance(value, bool):
        return False
    if not isinstance(value, str):
        return not _SECRET_WORDS.isdisjoint(_words(name))
    return bool(value) and (names_a_secret(name) or bool(secrets_in(value)) or looks_random(value))


def without_secrets(name: str, value: Any) -> str:
    """The value of a parameter as text, or `[redacted]` if it may be a secret."""
    return REDACTED if is_secret(name, value) or is_secret("", str(value)) else str(value)


def redacted(
    values: Mapping[str, Any], *, keep: Collection[str] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parameters with `[redacted]` in place of secrets, at any depth.

    Args:
        values: Plain JSON values by name.
        keep: Names, with dots for inner ones, whose values are kept.

    Returns:
        The parameters, and the names of those that were redacted.

    Examples:
        >>> redacted({"lr": 0.1, "db": {"password": "hunter22"}})
        ({'lr': 0.1, 'db': {'password': '[redacted]'}}, ('db.password',))
    """
    hidden: list[str] = []

    def clean(name: str, value: Any) -> Any:
        if name in keep:
            return value
        own = name.rpartition(".")[2]
        if isinstance(value, Mapping) and not (value and names_a_secret(own)):
            keys = {key: REDACTED if secrets_in(key) else key for key in value}
            return {keys[key]: clean(f"{name}.{keys[key]}", value[key]) for key in value}
        if isinstance(value, list) and not (value and names_a_secret(own)):
            return [clean(name, item) for item in value]
        if is_secret(own, value):
            hidden.append(name)
            return REDACTED
        return value

    return {name: clean(name, value) for name, value in values.items()}, tuple(
        dict.fromkeys(hidden)
    )


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name[:_SEARCHED])]


def _random(word: str) -> bool:
    kinds = [
        "d" if mark.isdigit() else "u" if mark.isupper() else "l" if mark.islower() else "o"
        for mark in word
    ]
    changes = sum(first != last for first, last in pairwise(kinds))
    mixed = kinds.count("d") > 1 and kinds.count("u") > 2 and kinds.count("l") > 2  # noqa: PLR2004 - chosen
    return mixed and word.count("/") <= len(word) // 16 and changes >= _CHANGES * len(word)
