"""Keras HDF5 scanner: links and storage of the file, allowlisted objects of a whole model.

Source: Keras `legacy/saving/legacy_h5_format.py`: the architecture is text in the root's
`model_config`; a weights file has none.
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused
from mlsecops.loading.formats.keras import object_findings
from mlsecops.loading.formats.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_reader import CONFIG, require_contained
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination


def examine_hdf5(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check links and storage, and the configuration of a whole model."""
    walked = require_contained(source, where=source.name, limits=limits)
    if walked.config is None:
        return Examination()
    what = f"{source.name}: {CONFIG}"
    config = parse_json(walked.config, what=what, error=FormatRefused, constants=True)
    found = tuple(object_findings(config, CONFIG, source.name, allowed, limits, legacy=True))
    require_stored(config, walked.numbers, where=source.name)
    return Examination(findings=found)
