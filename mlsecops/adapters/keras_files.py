"""How Keras reads an archive that was checked: safe mode, nothing compiled."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, FrameworkTooOld, MLSecOpsError

OLDEST: Final = (3, 13, 2)
"""Before it, archives could escape safe mode or exhaust memory (CVE-2025-9906, CVE-2026-0897)."""


def read_keras(path: str) -> Any:
    """The model of a ``.keras`` archive.

    Args:
        path: Bytes to read; a link with the extension that Keras insists on is made to them.

    Raises:
        FrameworkTooOld: The installed Keras is known to be escapable.
        FormatRefused: Keras refuses the archive.
    """
    keras = require("keras")
    _require_new(keras)
    with _link(path) as link:
        try:
            return keras.saving.load_model(link, safe_mode=True, compile=False)
        except Exception as error:  # Keras raises whatever the bytes make it raise
            raise FormatRefused(f"Keras refuses the archive: {error}") from error


def fill_keras(model: Any, path: str, *, confirm: Callable[[], object] = lambda: None) -> Any:
    """Give the caller's model an archive's weights; the archive's configuration is not used.

    Args:
        model: The model, built.
        path: Bytes to read.
        confirm: Raises where the bytes turn out to be other ones; the model is then as it was.

    Raises:
        FrameworkTooOld: As :func:`read_keras`.
        FormatRefused: The weights do not fit; the model is as it was.
    """
    keras = require("keras")
    _require_new(keras)
    before = model.get_weights()
    with _link(path) as link:
        try:
            model.load_weights(link)
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


@contextlib.contextmanager
def _link(path: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mlsecops-") as folder:
        link = Path(folder, "model.keras")
        link.symlink_to(path)
        yield str(link)


def _require_new(keras: Any) -> None:
    version = tuple(int(part) for part in str(keras.__version__).split(".")[:3] if part.isdigit())
    if version < OLDEST:
        raise FrameworkTooOld(
            f"keras {keras.__version__}: expected at least {'.'.join(map(str, OLDEST))}; "
            'upgrade with: pip install "mlsecops-sdk[tensorflow]"'
        )
