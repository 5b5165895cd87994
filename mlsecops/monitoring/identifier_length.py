"""How long a name from outside may be: a caller chooses it, and monitoring remembers it."""

from __future__ import annotations

import hashlib
from typing import Any, Final

__all__ = ["bounded"]

_LONGEST: Final = 256
_SHOWN: Final = 200


def bounded(name: Any) -> Any:
    """A client's name or a request's id; of one that is too long, its beginning and its digest.

    Args:
        name: Text is bounded; whatever else it is, it stays.
    """
    if not isinstance(name, str) or len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{name[:_SHOWN]}…{digest[:32]}"
