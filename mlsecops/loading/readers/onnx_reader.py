"""ONNX reader of checked models, with their external data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsecops._extras import require
from mlsecops.errors import FormatRefused


def read_onnx(path: str, *, external: Mapping[str, str]) -> Any:
    """The `ModelProto` of a file, with external data read into it.

    Args:
        path: Bytes to read.
        external: Name in the model → path of the checked bytes.

    Raises:
        FormatRefused: It cannot be read, or refers to a file that was not checked.
    """
    onnx = require("onnx")
    helper = require("onnx.external_data_helper")
    try:
        model = onnx.load_model_from_string(Path(path).read_bytes())
        for tensor in helper._get_all_tensors(model):  # noqa: SLF001 - onnx reads paths only, which could be swapped
            if helper.uses_external_data(tensor):
                _read_external(onnx, tensor, external)
    except FormatRefused:
        raise
    except Exception as error:  # protobuf and onnx raise whatever the bytes make them raise
        raise FormatRefused(f"onnx cannot read the model: {error}") from error
    return model


def _read_external(onnx: Any, tensor: Any, external: Mapping[str, str]) -> None:
    wanted = {entry.key: entry.value for entry in tensor.external_data}
    location = wanted["location"]
    if location not in external:
        raise FormatRefused(f"tensor {tensor.name!r} refers to {location!r}, which was not checked")
    offset, length = int(wanted.get("offset", 0)), wanted.get("length")
    with Path(external[location]).open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(-1 if length is None else int(length))
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
