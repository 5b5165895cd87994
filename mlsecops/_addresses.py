"""Addresses of HTTP endpoints: accepted schemes, printable form without secrets, retry delay."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from mlsecops.errors import UsageError

__all__ = ["public_address", "require_private", "retry_after"]


def public_address(url: str) -> str:
    """The address without its secret parts: user, password, query.

    Raises:
        UsageError: It is no address of the web.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UsageError(f"expected an http or https address: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"expected an http or https address, got scheme {parts.scheme!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}"


def require_private(url: str) -> None:
    """Refuse to send confidential data over an unencrypted connection.

    Raises:
        UsageError: It is `http` to another machine.
    """
    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme == "http" and not _is_loopback(host):
        raise UsageError(
            f"{host} is another machine and http is not encrypted: use https, or say "
            "unsafe_plain_http"
        )


def retry_after(text: str | None) -> float:
    """A Retry-After in seconds; 0 for none, and for a date, which is ignored."""
    plain = text is not None and text.isascii() and text.isdigit()
    return float(text) if text is not None and plain else 0.0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
