"""Restricted unpicklers of checked pickles, joblib files and skops archives.

A path to checked bytes and the names that the check found in them come in; the object goes out.
The unpicklers import only those names, so that a pickle that the check and Python read differently
still reaches no name that was not allowed.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, UnsafeContent
from mlsecops.loading.pickle_vm.call_rules import ARRAY_WRAPPER
from mlsecops.loading.pickle_vm.stack import python3_name


def read_pickle(path: str, *, names: Collection[str]) -> Any:
    """The object of a pickle; joblib's reader reads joblib's files.

    Args:
        path: Bytes to read.
        names: Qualified names that may be imported.

    Raises:
        UnsafeContent: It imports another name.
        FormatRefused: It cannot be unpickled.

    Examples:
        >>> _ = Path("a.pkl").write_bytes(pickle.dumps([1, 2]))
        >>> read_pickle("a.pkl", names=())
        [1, 2]
    """
    with Path(path).open("rb") as stream:
        reader: Any = _joblib(stream, names) if ARRAY_WRAPPER in names else _Alone.of(names)(stream)
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
        names: Qualified names that may be built in addition to those that skops trusts.

    Raises:
        FormatRefused: skops refuses it.
    """
    skops = require("skops.io")
    try:
        return skops.load(path, trusted=sorted(names))
    except Exception as error:  # as above
        raise FormatRefused(f"skops refuses the archive: {error}") from error


class NamedUnpickler(pickle.Unpickler):
    """Unpickler that imports only the names of its class."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Collection[str]) -> type[Self]:
        """A class of unpicklers that import these qualified names."""
        return type(cls.__name__, (cls,), {"names": frozenset(names)})

    def find_class(self, module: str, name: str, /) -> Any:
        """Import a name of the list, under its name in Python 3.

        Raises:
            UnsafeContent: It is not on the list.
        """
        return super().find_class(*_allowed(module, name, self.names))


class _Alone(NamedUnpickler):
    """Unpickler of a pickle that stands for itself."""

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse references to objects outside the pickle."""
        raise UnsafeContent(
            f"the pickle refers to a {type(pid).__name__} outside the pickle",
            rule="pickle-persistent",
            where="pickle",
        )


def _joblib(stream: Any, names: Collection[str]) -> Any:
    joblib = require("joblib.numpy_pickle")

    class Restricted(joblib.NumpyUnpickler):  # type: ignore[misc, name-defined]
        """joblib's unpickler, which reads arrays between the opcodes, with the same list."""

        def find_class(self, module: str, name: str) -> Any:
            return super().find_class(*_allowed(module, name, names))

    return Restricted("", stream, ensure_native_byte_order=True)


def _allowed(module: str, name: str, names: Collection[str]) -> tuple[str, str]:
    for home, leaf in ((module, name), python3_name(module, name)):
        if f"{home}.{leaf}" in names:
            return home, leaf
    raise UnsafeContent(
        f"the pickle imports {module}.{name}, which its check did not find; report this file: the "
        "check and Python read it differently",
        rule="pickle-global",
        where="pickle",
    )
