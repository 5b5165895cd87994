"""Storage errors as errors of the registry.

OSError, SQLite error or unreadable log → `RegistryError` with the place, and what to do
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlsecops.errors import EvidenceError, RegistryError

__all__ = ["storage_errors"]


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what storage raises into an error of the registry.

    Args:
        folder: The registry's folder.

    Raises:
        RegistryError: Something could not be read or written.
    """
    try:
        yield
    except EvidenceError as error:
        raise RegistryError(f"registry {folder}: {error}") from error
    except sqlite3.Error as error:
        raise RegistryError(f"registry {folder}: {error}; restore it from a copy") from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        raise RegistryError(
            f"registry {folder}: {place}{error.strerror or error}; restore access to its files "
            "and write permission for its cache/, or restore them from a copy"
        ) from error
