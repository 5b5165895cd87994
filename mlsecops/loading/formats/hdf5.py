"""Whether an HDF5 file of Keras keeps to itself, and builds only known layers where it is a model.

Source: Keras `legacy/saving/legacy_h5_format.py`: the architecture is text in the root's
`model_config`; a weights file has none.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from mlsecops.errors import FormatRefused
from mlsecops.loading.formats.keras import object_findings
from mlsecops.loading.formats.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_reader import CONFIG, require_contained
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination


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
    walked = require_contained(source, where=source.name, limits=limits)
    config = _parsed(walked.config, source.name)
    if config is None:
        return Examination()
    found = object_findings(config, CONFIG, source.name, allowed, limits, legacy=True)
    findings = tuple(found)
    require_stored(config, walked.numbers, where=source.name)
    return Examination(findings=findings)


def _parsed(text: str | None, where: str) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatRefused(f"{where}: {CONFIG} is not JSON: {error}") from error
