"""Keras models filled with the weights of a file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops._files import linked
from mlsecops.errors import FormatRefused, FrameworkTooOld, MLSecOpsError

OLDEST: Final = (3, 13, 2)
"""Oldest Keras version with the fixes of CVE-2025-9906 and CVE-2026-0897 (safe mode, memory)."""


def fill_keras(
    model: Any, path: str, *, hdf5: bool = False, confirm: Callable[[], object] = lambda: None
) -> Any:
    """Load an archive's weights into the caller's built model, and not its configuration.

    `confirm` raises if the bytes have changed; `hdf5` files hold weights or a whole model.

    Raises:
        FrameworkTooOld: The installed Keras is older than `OLDEST`.
        FormatRefused: The weights do not fit; the model is unchanged.
    """
    keras = require("keras")
    require_patched(keras)
    before = model.get_weights()
    name = _weights_name(path) if hdf5 else "model.keras"
    with under_name(path, name) as named:
        try:
            model.load_weights(named)
            confirm()
        except MLSecOpsError:
            model.set_weights(before)
            raise
        except Exception as error:
            model.set_weights(before)
            raise FormatRefused(
                f"the weights do not fit {type(model).__name__}: {error}; "
                "build the saved architecture"
            ) from error
    return model


def is_keras(value: Any) -> bool:
    """Whether a value is a Keras model."""
    return isinstance(value, require("keras").Model)


class _Bytes(io.BytesIO):
    """Bytes with a file name, by which Keras picks the format; HDF5 checks that paths exist."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name

    def __str__(self) -> str:
        return self._name

    def __fspath__(self) -> str:
        return self._name


def _weights_name(path: str) -> str:
    """File name of weights; Keras distinguishes its two layouts by the name alone."""
    old = root_attributes(path) & {"model_config", "layer_names", "keras_version"}
    return "model.h5" if old else "model.weights.h5"


def root_attributes(path: str) -> set[str]:
    """Names of the attributes of an HDF5 file's root."""
    h5py = require("h5py")
    try:
        with Path(path).open("rb") as stream, h5py.File(stream, "r") as file:
            return set(file.attrs)
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatRefused(f"not readable as HDF5: {error}") from error


@contextlib.contextmanager
def under_name(path: str, name: str) -> Iterator[Any]:
    """The bytes under a name with the extension that Keras requires."""
    if name.endswith(".h5"):
        yield _Bytes(Path(path).read_bytes(), name)
        return
    with linked({name: path}) as folder:
        yield f"{folder}/{name}"


def require_patched(keras: Any) -> None:
    """Refuse a Keras with known escapes from safe mode as `FrameworkTooOld`."""
    version = tuple(int(part) for part in str(keras.__version__).split(".")[:3] if part.isdigit())
    if version < OLDEST:
        raise FrameworkTooOld(
            f"keras {keras.__version__}: expected at least {'.'.join(map(str, OLDEST))}; "
            'upgrade with: pip install "mlsecops-sdk[tensorflow]"'
        )
