"""Incident response with a signed record of each step.

    Alert or Finding → `incident`: Incident → `playbook`: Playbook → `actions` on the registry
    Incident → `evidence`: sealed Evidence; `guidance`: the steps that people take
    Playbook ↔ OASIS CACAO 2.0 (`cacao`); dry run → `plan`

The same alert opens the same incident. Each step is an event of the incident's signed log, so that
an interrupted run resumes and the log is the chain of custody.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.incident.evidence import Evidence as Evidence
    from mlsecops.incident.guidance import kind_of as kind_of
    from mlsecops.incident.incident import Incident as Incident
    from mlsecops.incident.incident import Step as Step
    from mlsecops.incident.playbook import Playbook as Playbook
    from mlsecops.incident.playbook import PlaybookStep as PlaybookStep
else:
    __all__, __getattr__, __dir__ = lazy_face()
