"""Advice on errors of the operating system: what was expected of a path, and what to do.

error → the operating system's error behind it → text to append to the message
"""

from __future__ import annotations

import errno
from typing import Final

_ABSENT: Final = "expected an existing file or folder; check the path"
_NO_FOLDER: Final = "expected its folder to exist; make the folder, or check the path"
_READ_ONLY: Final = "expected a path that may be written; name another one"
_FORBIDDEN: Final = "expected permission; check the owner and the mode of the path"
_ADVICE: Final = {
    errno.ENOENT: _ABSENT,
    errno.EISDIR: "expected a file, got a folder; name a file",
    errno.ENOTDIR: "expected a folder, got a file; check the path",
    errno.EEXIST: "expected a folder, got a file; name another path",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _READ_ONLY,
    errno.ENAMETOOLONG: "expected a shorter path; name another one",
    errno.ENOSPC: "expected free space on the disk; make room, or name another path",
}


def advice(error: BaseException) -> str:
    """What to add to an error's message; "" where it says what was expected, or nothing is known.

    Examples:
        >>> advice(FileNotFoundError(2, "No such file or directory"))
        '; expected an existing file or folder; check the path'
        >>> advice(ValueError("expected a number"))
        ''
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__cause__
    if behind is None or "expected" in str(error):
        return ""
    writing = behind.errno == errno.ENOENT and "write" in str(error)
    known = _NO_FOLDER if writing else _ADVICE.get(behind.errno or 0)
    return f"; {known}" if known else ""
