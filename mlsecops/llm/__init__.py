"""Testing and guarding language-model endpoints.

Guarding: what comes from outside is cleaned of `characters` that nobody sees and marked by
`spotlight`; what the model answers is searched for `canaries` through all `encodings`, and what
would lead to other `hosts` than those allowed is taken out of its `output`. Once untrusted text is
in a session (`sessions`), `tools` with an effect are denied or have to be confirmed; an alarm
(`alerts`) tells of it, and `telemetry` counts.
"""

from mlsecops.llm.alerts import Alarm
from mlsecops.llm.canaries import Canary, Sighting
from mlsecops.llm.characters import Sanitised, fold, sanitise
from mlsecops.llm.encodings import Reading, readings
from mlsecops.llm.output import Filtered, OutputFilter
from mlsecops.llm.sessions import Session, ToolCall, UntrustedText, current_session
from mlsecops.llm.spotlight import Spotlit, datamark, delimit, encode
from mlsecops.llm.tools import guarded_tool

__all__ = [
    "Alarm",
    "Canary",
    "Filtered",
    "OutputFilter",
    "Reading",
    "Sanitised",
    "Session",
    "Sighting",
    "Spotlit",
    "ToolCall",
    "UntrustedText",
    "current_session",
    "datamark",
    "delimit",
    "encode",
    "fold",
    "guarded_tool",
    "readings",
    "sanitise",
]
