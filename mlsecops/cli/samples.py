"""Samples and labels of an `.npz` file, memory-mapped where they are large; never unpickled.

`.npz` → arrays `x` and `y`
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsecops.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = tuple[NDArray[Any], NDArray[np.integer[Any]]]

IN_MEMORY = 256 << 20  # bytes of x; chosen: a larger array is mapped from disk
ON_DISK = 256 << 30  # bytes of x; chosen: a larger array is not decompressed
_LENGTHS = 26  # bytes; offset of name and extra field length (APPNOTE.TXT 4.3.7)
_LOCAL_HEADER = 30  # bytes; fixed part of a local file header (APPNOTE.TXT 4.3.7)
_ENCRYPTED = 1  # bit 0 of the general purpose flags (APPNOTE.TXT 4.4.4)
_SHOWN = 8  # names of arrays in an error message; chosen: one line


def read_samples(path: Path) -> Samples:
    """Arrays `x` (n, *shape) and `y` (n,), in memory.

    Raises:
        UsageError: The file cannot be opened, is no `.npz`, or lacks `x` or `y`.
    """
    import numpy as np  # noqa: PLC0415 - needed for samples only

    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"]


@contextlib.contextmanager
def open_samples(path: Path) -> Iterator[Samples]:
    """Arrays `x` and `y`; a large `x` is mapped, from a temporary file if it is compressed.

    Raises:
        UsageError: As `read_samples`, or the disk is too small to decompress `x`.
    """
    import numpy as np  # noqa: PLC0415 - needed for samples only

    with contextlib.ExitStack() as stack:
        with _reading(path):
            entry = _large(path)
            if entry is not None:
                file = _plain(path, entry, stack)
                with np.load(path, allow_pickle=False) as arrays:
                    samples = _mapped(file, entry.file_size), arrays["y"]
        yield read_samples(path) if entry is None else samples


def _large(path: Path) -> zipfile.ZipInfo | None:
    """The entry of `x`, if it is too large for memory."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return None
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("x.npy")
    return entry if entry.file_size > IN_MEMORY else None


def _plain(path: Path, entry: zipfile.ZipInfo, stack: contextlib.ExitStack) -> Any:
    """A file positioned at the uncompressed bytes of an entry."""
    if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _ENCRYPTED:
        file = stack.enter_context(path.open("rb"))
        file.seek(entry.header_offset + _LENGTHS)
        lengths = file.read(4)
        skipped = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        file.seek(entry.header_offset + _LOCAL_HEADER + skipped)
        return file
    room = min(ON_DISK, shutil.disk_usage(tempfile.gettempdir()).free)
    if entry.file_size > room:
        raise UsageError(
            f"{path}: expected at most {room} bytes of x, which fit into {tempfile.gettempdir()}, "
            f"got {entry.file_size}; save it with numpy.savez, which does not compress"
        )
    kept: Any = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with zipfile.ZipFile(path) as archive, archive.open(entry) as compressed:
        shutil.copyfileobj(compressed, kept, 1 << 20)
    kept.seek(0)
    return kept


def _mapped(file: Any, size: int) -> NDArray[Any]:
    """The array of a `.npy` of `size` bytes that begins at the file's position."""
    import numpy as np  # noqa: PLC0415 - needed for samples only

    start, layout = file.tell(), np.lib.format
    version = layout.read_magic(file)
    read = layout.read_array_header_1_0 if version == (1, 0) else layout.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("x holds Python objects")
    values = size - (file.tell() - start)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != values:
        raise ValueError(f"x of shape {shape} and {dtype} does not fill {values} bytes")
    at = file.tell()
    return np.memmap(
        file, dtype=dtype, mode="r", offset=at, shape=shape, order="F" if fortran else "C"
    )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        _require_archive(path)
        yield
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UsageError:
        raise
    except KeyError as error:
        raise UsageError(
            f"{path}: expected an .npz file with arrays x and y, got {_names(path)}"
        ) from error
    except (ValueError, EOFError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: expected an .npz file with arrays x and y: {error}") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise UsageError(f"{path}: not a readable .npz file: {error}") from error


def _require_archive(path: Path) -> None:
    """Refuse files for which NumPy would suggest `allow_pickle`."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise UsageError(
                f"{path}: expected an .npz file with arrays x and y, "
                "as numpy.savez(path, x=…, y=…) writes it"
            )


def _names(path: Path) -> str:
    """Names of the first arrays of an `.npz` file."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "") or "none"
