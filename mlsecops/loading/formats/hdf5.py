"""Keras HDF5 scanner: links and storage of the file, allowlisted objects of a whole model.

Source: Keras `legacy/saving/legacy_h5_format.py`: the architecture is text in the root's
`model_config`, what it was compiled with in `training_config`; a weights file has neither.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mlsecops._json import parse_json
from mlsecops.errors import FormatRefused
from mlsecops.findings import Finding
from mlsecops.loading.formats.keras import compiled_findings, object_findings
from mlsecops.loading.formats.keras_size import require_stored
from mlsecops.loading.limits import Limits
from mlsecops.loading.sandbox.hdf5_reader import CONFIG, TRAINING, require_contained
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination


def examine_hdf5(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check links and storage, and the configurations of a whole model."""
    walked = require_contained(source, where=source.name, limits=limits)
    found: list[Finding] = []
    if walked.training is not None:
        compiled = _parsed(walked.training, source, TRAINING)
        found += compiled_findings(compiled, TRAINING, source.name, allowed, limits, legacy=True)
    if walked.config is not None:
        config = _parsed(walked.config, source, CONFIG)
        found += object_findings(config, CONFIG, source.name, allowed, limits, legacy=True)
        require_stored(config, walked.numbers, where=source.name)
    return Examination(findings=tuple(found))


def _parsed(text: str, source: Source, name: str) -> Any:
    return parse_json(text, what=f"{source.name}: {name}", error=FormatRefused, constants=True)
