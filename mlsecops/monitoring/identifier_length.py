"""Length limit for identifiers from outside, which monitoring stores."""

from __future__ import annotations

import hashlib
from typing import Any, Final

_LONGEST: Final = 256  # characters; chosen: longer than any usual id or address
_SHOWN: Final = 200  # characters of a longer one; chosen: enough to recognise it


def bounded(name: Any) -> Any:
    """A client's name or request id; a long text becomes its beginning and its digest."""
    if not isinstance(name, str) or len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{name[:_SHOWN]}…{digest[:32]}"
