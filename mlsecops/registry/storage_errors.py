"""Storage errors as errors of the registry.

OSError or unreadable log → `RegistryError` with the place, and what to do
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlsecops.errors import EvidenceError, RegistryError

__all__ = ["storage_errors"]


@contextmanager
def storage_errors(location: str) -> Iterator[None]:
    """Turn what storage raises into an error of the registry.

    Args:
        location: The registry's location.

    Raises:
        RegistryError: Something could not be read or written.
    """
    try:
        yield
    except EvidenceError as error:
        raise RegistryError(f"registry {location}: {error}") from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise RegistryError(
            f"registry {location}: {place}{error.strerror or error}; restore access to it, "
            "or write permission for the cache (cache=, XDG_CACHE_HOME), or restore it from a copy"
        ) from error
