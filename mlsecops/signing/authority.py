"""Time stamp authority over HTTP: DER request out, DER response in.

Source: RFC 3161, section 3.4.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from typing import Final

from mlsecops._choices import checked
from mlsecops.errors import UsageError
from mlsecops.signing.timestamps import Authority

MAX_RESPONSE_BYTES: Final = 1 << 20  # bytes; chosen: a response with its chain takes a few KiB


@checked
def http_authority(url: str, *, timeout: float = 30.0) -> Authority:
    """A time stamp authority that is reached over HTTP.

    Args:
        url: `http://` or `https://`; the stamp is signed, so plain HTTP loses only privacy.
        timeout: Seconds to wait.

    Raises:
        UsageError: The URL has another scheme.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"time stamp authority {url!r}: expected an http:// or https:// URL")

    def ask(query: bytes) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            url, data=query, headers={"Content-Type": "application/timestamp-query"}
        )
        try:
            with urllib.request.urlopen(  # noqa: S310 - the scheme is checked above
                request, timeout=timeout, context=ssl.create_default_context()
            ) as response:
                return bytes(response.read(MAX_RESPONSE_BYTES))
        except (OSError, urllib.error.URLError) as error:
            raise UsageError(
                f"cannot reach the time stamp authority {url}: {error}; sign without, or retry"
            ) from error

    return ask
