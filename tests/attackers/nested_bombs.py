"""Archives in archives, each within its own limits, that multiply bytes or files together."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile


def zipped(entries: dict[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def many_files(levels: int, *, each: int = 60) -> bytes:
    """Archives in archives whose number of files multiplies with each level."""
    inner = zipped({"notes.txt": b"x"})
    for _ in range(levels - 1):
        inner = zipped({f"{number}.zip": inner for number in range(each)})
    return inner


def many_bytes(count: int, *, outer: str) -> bytes:
    """Equal archives of 64 MiB each, which a container stores once or compresses to once."""
    noise = os.urandom(200_000)
    plain = b"".join(noise[at : at + 200] + b"\0" * 65_000 for at in range(0, 200_000, 200))
    inner = zipped({"a.data": plain})
    if outer == "zip":
        return zipped({f"{number}.zip": inner for number in range(count)})
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for number in range(count):
            info = tarfile.TarInfo(f"{number}.zip")
            info.size = len(inner)
            archive.addfile(info, io.BytesIO(inner))
    return lzma.compress(tar.getvalue(), preset=6)


def sparse_text(size: int) -> bytes:
    """JSON that is mostly spaces, and compresses about 80:1."""
    block = b'"' + os.urandom(400).hex().encode() + b'",' + b" " * 36_000
    return b"[" + block * (size // len(block)) + b"0]"
