"""PMML scanner: known elements, and data that lies elsewhere.

Source: PMML 4.4.1, General Structure; Data Mining Group.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mlsecops.loading.containers.xml_events import xml_tags
from mlsecops.loading.kinds import RECOGNISED, Format
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, Unchecked, not_checked

_ELSEWHERE: Final = frozenset({"TableLocator", "Extension"})
"""Elements whose meaning its reader decides: another table, or an extension of a producer."""


def examine_pmml(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check the elements; PMML has no construct that runs code."""
    found: dict[str, Unchecked] = {}
    for tag in xml_tags(source, limits):
        if tag.name in _ELSEWHERE:
            why = f"line {tag.line}: {tag.name}, whose meaning its reader decides"
            found.setdefault(tag.name, Unchecked(what=source.name, why=why))
    return Examination(unchecked=tuple(found.values()))


def examine_xml(source: Source, limits: Limits, _: Collection[str] = ()) -> Examination:
    """Check that XML of no known format declares no document type."""
    for _tag in xml_tags(source, limits):
        pass
    return not_checked(source.name, RECOGNISED[Format.XML])
