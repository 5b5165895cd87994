"""Testing and guarding language-model endpoints.

Guarding: what comes from outside is cleaned of `characters` that nobody sees and marked by
`spotlight`; what the model answers is searched for `canaries` through all `encodings`, and what
would lead to other `hosts` than those allowed is taken out of its `output`.
"""

from mlsecops.llm.canaries import Canary, Sighting
from mlsecops.llm.characters import Sanitised, fold, sanitise
from mlsecops.llm.encodings import Reading, readings
from mlsecops.llm.output import Filtered, OutputFilter
from mlsecops.llm.spotlight import Spotlit, datamark, delimit, encode

__all__ = [
    "Canary",
    "Filtered",
    "OutputFilter",
    "Reading",
    "Sanitised",
    "Sighting",
    "Spotlit",
    "datamark",
    "delimit",
    "encode",
    "fold",
    "readings",
    "sanitise",
]
