"""Whether an HDF5 file of Keras keeps to itself, and builds only known layers where it is a model.

Source: Keras ``legacy/saving/legacy_h5_format.py``: the architecture is text in the root's
``model_config``; a weights file has none.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from mlsecops._extras import require
from mlsecops.errors import FormatRefused, LimitExceeded
from mlsecops.loading.hdf5 import require_contained
from mlsecops.loading.keras_file import object_findings
from mlsecops.loading.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination

CONFIG: Final = "model_config"


def examine_hdf5(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check links and storage, and the configuration of a whole model.

    Args:
        source: The file.
        limits: Ceilings.
        allowed: Names allowed besides Keras' own.

    Raises:
        FormatRefused: It is malformed.
        UnsafeContent: It refers outside.
        LimitExceeded: It declares far more than it stores.
        MissingExtra: h5py is not installed.
    """
    with source.stream() as stream:
        stored = require_contained(stream, where=source.name, limits=limits)
        stream.seek(0)
        config = _config(stream, source, limits)
    if config is None:
        return Examination()
    found = object_findings(config, CONFIG, source.name, allowed, limits, legacy=True)
    findings = tuple(found)
    require_stored(config, stored, where=source.name)
    return Examination(findings=findings)


def _config(stream: Any, source: Source, limits: Limits) -> Any:
    h5py = require("h5py")
    try:
        with h5py.File(stream, "r") as file:
            if CONFIG not in file.attrs:
                return None
            size = file.attrs.get_id(CONFIG).get_storage_size()
            limits.require("header_bytes", size, where=f"{source.name}: {CONFIG}")
            text = file.attrs[CONFIG]
    except LimitExceeded:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FormatRefused(f"{source.name}: {CONFIG} cannot be read: {error}") from error
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatRefused(f"{source.name}: {CONFIG} is not JSON: {error}") from error
