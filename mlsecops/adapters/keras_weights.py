"""Keras model weights: HDF5 bytes out, and models filled from files."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops._files import linked
from mlsecops.errors import FormatRefused, FrameworkTooOld, MLSecOpsError

OLDEST: Final = (3, 13, 2)
"""Before it, archives could escape safe mode or exhaust memory (CVE-2025-9906, CVE-2026-0897)."""


def fill_keras(
    model: Any, path: str, *, hdf5: bool = False, confirm: Callable[[], object] = lambda: None
) -> Any:
    """Give the caller's model an archive's weights; the archive's configuration is not used.

    Args:
        model: The model, built.
        path: Bytes to read.
        hdf5: Whether they are an `.h5` file, of weights or of a whole model.
        confirm: Raises where the bytes turn out to be other ones; the model is then as it was.

    Raises:
        FrameworkTooOld: As `read_keras`.
        FormatRefused: The weights do not fit; the model is as it was.
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
                "build the architecture that was saved"
            ) from error
    return model


def is_keras(value: Any) -> bool:
    """Whether a value is a Keras model."""
    return isinstance(value, require("keras").Model)


def encode_keras(model: Any) -> bytes:
    """A built model's weights as `.weights.h5`."""
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        place = Path(folder, "model.weights.h5")
        model.save_weights(place)
        return place.read_bytes()


def decode_keras(model: Any, data: bytes) -> None:
    """Give a built model the weights of `.weights.h5` bytes, all of them or none.

    Raises:
        FormatRefused: They do not fit; the model is as it was.
    """
    with tempfile.NamedTemporaryFile(prefix="mlsecops-") as place:
        place.write(data)
        place.flush()
        fill_keras(model, place.name, hdf5=True)


class _Bytes(io.BytesIO):
    """Bytes that call themselves what Keras tells formats by.

    HDF5 opens no file whose real path is not to be found, as that of memory is not.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name

    def __str__(self) -> str:
        return self._name

    def __fspath__(self) -> str:
        return self._name


def _weights_name(path: str) -> str:
    """What a file of weights must be called: Keras tells its two layouts by the name alone."""
    old = root_attributes(path) & {"model_config", "layer_names", "keras_version"}
    return "model.h5" if old else "model.weights.h5"


def root_attributes(path: str) -> set[str]:
    """Names of the attributes of an HDF5 file's root.

    Raises:
        FormatRefused: It is no HDF5 file.
    """
    h5py = require("h5py")
    try:
        with Path(path).open("rb") as stream, h5py.File(stream, "r") as file:
            return set(file.attrs)
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatRefused(f"not readable as HDF5: {error}") from error


@contextlib.contextmanager
def under_name(path: str, name: str) -> Iterator[Any]:
    """Bytes under a name of the extension that Keras insists on."""
    if name.endswith(".h5"):
        yield _Bytes(Path(path).read_bytes(), name)
        return
    with linked({name: path}) as folder:
        yield f"{folder}/{name}"


def require_patched(keras: Any) -> None:
    """Demand a Keras without the known escapes from safe mode.

    Raises:
        FrameworkTooOld: The installed Keras is older than `OLDEST`.
    """
    version = tuple(int(part) for part in str(keras.__version__).split(".")[:3] if part.isdigit())
    if version < OLDEST:
        raise FrameworkTooOld(
            f"keras {keras.__version__}: expected at least {'.'.join(map(str, OLDEST))}; "
            'upgrade with: pip install "mlsecops-sdk[tensorflow]"'
        )
