"""OpenVINO model scanner: layers of known sets, constants inside the `.bin` of the same name.

Source: OpenVINO "Intermediate Representation Suitable for INT8 Inference"; `src/core/src/xml_util`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Final

from mlsecops.errors import FormatRefused
from mlsecops.loading.containers.xml_events import xml_tags
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, ExternalData, Unchecked

_SETS: Final = re.compile(r"opset\d{1,3}|experimental|ie_internal_opset|")
_NUMBER: Final = re.compile(r"\d{1,19}")


def examine_openvino(source: Source, limits: Limits, allowed: Collection[str] = ()) -> Examination:
    """Check layers and the ranges of their constants; `allowed`: sets of operators."""
    weights = PurePosixPath(source.name).with_suffix(".bin").name
    ends, unchecked, inside = [], dict[str, Unchecked](), ""
    for tag in xml_tags(source, limits):
        if tag.name == "layer":
            inside = tag.attributes.get("type", "")
            home = tag.attributes.get("version", "")
            if not _SETS.fullmatch(home) and home not in allowed:
                why = (
                    f"line {tag.line}: layer {inside[:80]!r} of set {home[:80]!r}, which a library"
                )
                unchecked.setdefault(
                    home, Unchecked(what=source.name, why=f"{why} outside the file implements")
                )
        elif tag.name == "data" and inside == "Const" and "size" in tag.attributes:
            ends.append(_end(tag.attributes, f"{source.name}: line {tag.line}"))
    external = (ExternalData(name=weights, end=max(ends)),) if ends else ()
    return Examination(unchecked=tuple(unchecked.values()), external=external)


def _end(attributes: dict[str, str], where: str) -> int:
    offset, size = attributes.get("offset", "0"), attributes["size"]
    if not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(size):
        raise FormatRefused(f"{where}: expected numbers, got {offset[:20]!r} and {size[:20]!r}")
    return int(offset) + int(size)
