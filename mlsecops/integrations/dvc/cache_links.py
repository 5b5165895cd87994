"""Links into DVC's cache (`cache.type symlink`), resolved to the cached files.

repository → folders of its cache → link of an output → cached file, or refused

Source: DVC 3, "Internal Directories and Files": `files/md5/XX/…`; "Configuration": `cache.dir`.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mlsecops.provenance.files.pieces import Found, stamp_of

_CACHED: Final = re.compile(r"(?:files/md5/)?[0-9a-f]{2}/[0-9a-f]{30}")


def cache_links(root: Path) -> Callable[[str], Found | None]:
    """What follows links into the cache of a repository: path of the link → cached file, or None.

    Args:
        root: Folder of the repository.
    """
    folders = [os.path.realpath(folder) for folder in _cache_folders(root)]

    def follow(path: str) -> Found | None:
        link = Path(path)
        target = os.path.normpath(link.parent / link.readlink())
        real = os.path.join(os.path.realpath(Path(target).parent), Path(target).name)  # noqa: PTH118
        for folder in folders:
            inside = real.removeprefix(f"{folder}/")
            if inside != real and _CACHED.fullmatch(inside):
                return _found(real, folder)
        return None

    return follow


def _found(place: str, folder: str) -> Found | None:
    try:
        status = os.lstat(place)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(place, status.st_size, folder, stamp_of(status))


def _cache_folders(root: Path) -> list[Path]:
    """The configured folder of the cache, and the default one."""
    found = [root / ".dvc" / "cache"]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    settings = [
        Path("/etc/xdg/dvc/config"),
        Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or home / "dvc") / "config",
        root / ".dvc" / "config",
        root / ".dvc" / "config.local",
    ]
    for file in settings:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            parser.read_string(file.read_text("utf-8"))
        except (OSError, ValueError, configparser.Error):
            continue
        folder = parser.get("cache", "dir", fallback=None)
        if folder:
            found.append(file.parent / Path(folder).expanduser())
    return found
