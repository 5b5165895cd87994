"""Samples with labels of an `.npz` file, which need not fit into memory; nothing is unpickled."""

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

IN_MEMORY = 256 << 20  # bytes of x, above which it stays on disk
ON_DISK = 256 << 30  # bytes of x, above which it is not decompressed
_LOCAL_HEADER = 30  # bytes, and two lengths of what follows it at 26
_ENCRYPTED = 1
_SHOWN = 8  # names of arrays in an error


def read_samples(path: Path) -> Samples:
    """Arrays `x` (n, *shape) and `y` (n,), in memory.

    Raises:
        UsageError: It cannot be opened, is no `.npz`, or lacks `x` or `y`.
    """
    import numpy as np  # noqa: PLC0415 - commands without samples do not pay for numpy

    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"]


@contextlib.contextmanager
def open_samples(path: Path) -> Iterator[Samples]:
    """Arrays `x` and `y`; a large `x` is mapped, from a temporary file if it is compressed.

    Raises:
        UsageError: As of `read_samples`, or there is no room to decompress it.
    """
    import numpy as np  # noqa: PLC0415 - commands without samples do not pay for numpy

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
    """A file that stands where the entry's uncompressed bytes begin."""
    if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _ENCRYPTED:
        file = stack.enter_context(path.open("rb"))
        file.seek(entry.header_offset + 26)
        lengths = file.read(4)
        skipped = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        file.seek(entry.header_offset + _LOCAL_HEADER + skipped)
        return file
    room = min(ON_DISK, shutil.disk_usage(tempfile.gettempdir()).free)
    if entry.file_size > room:
        raise UsageError(
            f"{path}: x has {entry.file_size} bytes and {tempfile.gettempdir()} takes {room}: "
            "save it with numpy.savez, which does not compress"
        )
    kept: Any = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with zipfile.ZipFile(path) as archive, archive.open(entry) as packed:
        shutil.copyfileobj(packed, kept, 1 << 20)
    kept.seek(0)
    return kept


def _mapped(file: Any, size: int) -> NDArray[Any]:
    """The array whose `.npy` begins where the file stands and has `size` bytes."""
    import numpy as np  # noqa: PLC0415 - commands without samples do not pay for numpy

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
    """Refuse what NumPy would take for a pickle, and advise to load unsafely."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise UsageError(
                f"{path}: not an .npz file: expected arrays x and y, "
                "as numpy.savez(path, x=…, y=…) writes them"
            )


def _names(path: Path) -> str:
    """The arrays that an `.npz` file holds, the first ones of many."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "") or "none"
