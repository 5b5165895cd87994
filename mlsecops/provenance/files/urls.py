"""URLs of objects and prefixes in stores, as opposed to local paths."""

from __future__ import annotations

import os
from typing import TypeGuard


def is_url(path: object) -> TypeGuard[str]:
    """Whether a caller's path is the URL of an object or a prefix, not a local path.

    Examples:
        >>> is_url("s3://bucket/model"), is_url("models/fraud")
        (True, False)
    """
    return isinstance(path, str) and "://" in path and not os.path.lexists(path)


def url_name(url: str) -> str:
    """Last part of a URL's path, without the revision of a Hugging Face repository.

    Examples:
        >>> url_name("s3://bucket/fraud/"), url_name("hf://org/name@main")
        ('fraud', 'name')
    """
    name = url.rstrip("/").rpartition("/")[2]
    return name.partition("@")[0] if url.startswith("hf://") else name
