"""Keras and TensorFlow readers of checked files: safe mode, nothing compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsecops._extras import require
from mlsecops._files import linked
from mlsecops.adapters.keras_weights import require_patched, root_attributes, under_name
from mlsecops.errors import FormatRefused


def read_keras(path: str, *, hdf5: bool = False) -> Any:
    """The model of a `.keras` archive, or of an `.h5` file that holds a whole model.

    Args:
        path: Bytes to read, through a link with the extension that Keras demands.
        hdf5: Whether it is the older format.

    Raises:
        FrameworkTooOld: The installed Keras has a known escape from safe mode.
        FormatRefused: Keras refuses the archive, or the `.h5` file holds only weights.
    """
    keras = require("keras")
    require_patched(keras)
    if hdf5 and not root_attributes(path) & {"model_config"}:
        raise FormatRefused(
            "the .h5 file: expected a whole model, got weights; build the architecture and pass it "
            "as into="
        )
    with under_name(path, "model.h5" if hdf5 else "model.keras") as named:
        try:
            return keras.saving.load_model(named, safe_mode=True, compile=False)
        except Exception as error:  # Keras raises whatever the bytes make it raise
            raise FormatRefused(f"Keras refuses the archive: {error}") from error


def read_savedmodel(files: Mapping[str, str]) -> Any:
    """The object of a SavedModel.

    Args:
        files: Name in the SavedModel's folder → bytes to read.

    Raises:
        FormatRefused: TensorFlow refuses it.
    """
    tensorflow = require("tensorflow")
    with linked(files) as folder:
        try:
            return tensorflow.saved_model.load(folder)
        except Exception as error:  # TensorFlow raises whatever the bytes make it raise
            raise FormatRefused(f"TensorFlow refuses the SavedModel: {error}") from error
