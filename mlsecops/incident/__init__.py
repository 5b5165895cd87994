"""What to do when something was found, and what was done.

An Alert or a Finding opens an `Incident`, the same one each time. A `Playbook` runs its steps:
it isolates the digest, seals `Evidence`, assesses what else is touched, rolls the registry back,
and leaves to people what only people can do. Each step is an event of the incident's own signed
log, so a run that was killed goes on where it stopped, and the chain of custody is that log.
"""

from mlsecops.incident.evidence import Evidence
from mlsecops.incident.guidance import kind_of
from mlsecops.incident.incident import Incident, Step
from mlsecops.incident.playbook import Playbook, PlaybookStep

__all__ = ["Evidence", "Incident", "Playbook", "PlaybookStep", "Step", "kind_of"]
