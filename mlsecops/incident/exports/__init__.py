"""Exports of an incident for other systems and for people.

    Incident → `ocsf`: event of a SIEM; `stix`: bundle to share; `navigator`: layer of MITRE ATLAS
    Incident → `thehive`: alert of a case manager; `page`: HTML report

Everything is built from the incident's own JSON values, and the same incident gives the same ids,
so that an export sent twice makes no duplicate.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.incident.exports.navigator import to_navigator as to_navigator
    from mlsecops.incident.exports.ocsf import to_ocsf as to_ocsf
    from mlsecops.incident.exports.page import to_html as to_html
    from mlsecops.incident.exports.stix import to_stix as to_stix
    from mlsecops.incident.exports.thehive import to_thehive as to_thehive
else:
    __all__, __getattr__, __dir__ = lazy_face()
