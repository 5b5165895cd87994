"""How pickles, joblib's pickles and skops archives that were checked become estimators.

A path to checked bytes and the names that the check found in them come in; the object goes out.
The unpicklers import those names and no others, so that a pickle that the check and Python read in
different ways still reaches nothing that was not allowed.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, UnsafeContent

_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"


def read_pickle(path: str, *, names: Collection[str]) -> Any:
    """The object of a pickle, as joblib reads it where joblib wrote it.

    Args:
        path: Bytes to read.
        names: Qualified names that may be imported.

    Raises:
        UnsafeContent: It asks for another name.
        FormatRefused: It cannot be unpickled.
    """
    with Path(path).open("rb") as stream:
        reader: Any = (
            _joblib(stream, names) if _WRAPPER in names else _Bound(stream, frozenset(names))
        )
        try:
            return reader.load()
        except UnsafeContent:
            raise
        except Exception as error:  # the classes' own code may raise anything
            raise FormatRefused(f"the pickle cannot be read: {error}") from error


def read_skops(path: str, *, names: Collection[str]) -> Any:
    """The object of a skops archive.

    Args:
        path: Bytes to read.
        names: Qualified names that may be built besides those that skops trusts itself.

    Raises:
        FormatRefused: skops refuses it.
    """
    skops = require("skops.io")
    try:
        return skops.load(path, trusted=sorted(names))
    except Exception as error:  # as above
        raise FormatRefused(f"skops refuses the archive: {error}") from error


class _Bound(pickle.Unpickler):
    """An unpickler that imports a closed list of names."""

    def __init__(self, stream: Any, names: frozenset[str]) -> None:
        super().__init__(stream)
        self._names = names

    def find_class(self, module: str, name: str, /) -> Any:
        """Import a name of the list, under its present name if the pickle has an old one.

        Raises:
            UnsafeContent: It is not on the list.
        """
        return super().find_class(*_allowed(module, name, self._names))

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse: nothing outside the pickle is meant."""
        raise UnsafeContent(
            f"the pickle refers to {type(pid).__name__} outside of itself",
            rule="pickle-persistent",
            where="pickle",
        )


def _joblib(stream: Any, names: Collection[str]) -> Any:
    joblib = require("joblib.numpy_pickle")
    listed = frozenset(names)

    class Bound(joblib.NumpyUnpickler):  # type: ignore[misc, name-defined]
        """joblib's unpickler, which reads arrays between the opcodes, over the same list."""

        def find_class(self, module: str, name: str) -> Any:
            return super().find_class(*_allowed(module, name, listed))

    return Bound("", stream, ensure_native_byte_order=True)


def _allowed(module: str, name: str, names: frozenset[str]) -> tuple[str, str]:
    for home, leaf in _spellings(module, name):
        if f"{home}.{leaf}" in names:
            return home, leaf
    raise UnsafeContent(
        f"the pickle asks for {module}.{name}, which its check did not find in it; "
        "report this file: the two read it differently",
        rule="pickle-global",
        where="pickle",
    )


def _spellings(module: str, name: str) -> Iterator[tuple[str, str]]:
    """A name as it stands, and as Python 3 calls what Python 2 called so."""
    yield module, name
    home, leaf = NAME_MAPPING.get((module, name), (module, name))
    yield IMPORT_MAPPING.get(home, home), leaf
