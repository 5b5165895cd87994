"""Location of objects: path or URL → the store that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from mlsecops._choices import checked, path_of
from mlsecops.audit.objects.folder import FolderStore
from mlsecops.audit.objects.memory import MemoryStore
from mlsecops.audit.objects.protocol import ObjectStore
from mlsecops.errors import UsageError

__all__ = ["local_folder", "open_store"]

_SEPARATORS: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_BUCKETS: Final = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"})


@checked
def open_store(
    location: str | os.PathLike[str], *, options: Mapping[str, Any] | None = None
) -> ObjectStore:
    """The store that a location names.

    Args:
        location: A folder, or `file://`, `memory://`, `s3://bucket/prefix`, `gs://` or `az://`.
        options: obstore's options for a bucket.

    Raises:
        UsageError: The scheme is unknown, it names no bucket, or an option is wrong.
        MissingExtra: A bucket needs obstore, which is not installed.
    """
    folder = local_folder(location)
    if folder is not None:
        return FolderStore(folder)
    url = str(location).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryStore(f"{parts.netloc}{parts.path}")
    if parts.scheme not in _BUCKETS:
        raise UsageError(
            f"location: expected a folder, file://, memory://, s3://, gs:// or az://, got "
            f"{parts.scheme}://"
        )
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"location: expected {parts.scheme}://BUCKET/PREFIX; keys go elsewhere")
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if any(name in {"", ".", ".."} or _SEPARATORS.search(name) for name in names):
        raise UsageError(
            f"location: expected names between '/', none of them '.' or '..', without encoded "
            f"slashes and backslashes, got {url[:80]!r}"
        )
    from mlsecops.audit.objects.bucket import BucketStore  # noqa: PLC0415 - an extra

    return BucketStore(url, dict(options or {}))


def local_folder(location: str | os.PathLike[str]) -> Path | None:
    """Folder that a location names on this machine, or None.

    Raises:
        UsageError: It is neither a path nor a URL.
    """
    if not isinstance(location, str) or "://" not in location:
        return path_of("location", location)
    parts = urlsplit(location)
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"}:
        raise UsageError(f"location: expected file:///PATH, got {location[:80]!r}")
    return path_of("location", unquote(parts.path))
