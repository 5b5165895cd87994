"""Incident response with a signed record of each step.

    Alert, Finding or report → `subject` → `incident`: Incident → events in the registry's log
                                                                  (`custody`) → `steps`
    Incident → `playbook`: Playbook → `actions` and `assessment` on the registry
    Incident → `evidence`: sealed Evidence; `guidance`: the steps that people take
    Incident → `exports`: OCSF, STIX, ATLAS Navigator, TheHive, HTML
    Playbook ↔ OASIS CACAO 2.0 (`cacao`); dry run → `plan`
    leaked key → `new_signatures`; registry, in a copy → `drill`

Alerts of one rule, digest and client open one incident. Each step is an event of the registry's
signed log, so that an interrupted run resumes, on any machine, and the log is the chain of custody.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.incident.drill import Drill as Drill
    from mlsecops.incident.drill import run_drill as run_drill
    from mlsecops.incident.evidence import Evidence as Evidence
    from mlsecops.incident.guidance import kind_of as kind_of
    from mlsecops.incident.incident import Incident as Incident
    from mlsecops.incident.new_signatures import sign_again as sign_again
    from mlsecops.incident.playbook import Playbook as Playbook
    from mlsecops.incident.playbook import PlaybookStep as PlaybookStep
    from mlsecops.incident.steps import Deadline as Deadline
    from mlsecops.incident.steps import Step as Step
    from mlsecops.incident.subject import IncidentReport as IncidentReport
else:
    __all__, __getattr__, __dir__ = lazy_face()
