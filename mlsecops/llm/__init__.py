"""Testing and guarding language-model endpoints.

Testing: `payloads` draws `attempts` in `scenes`, which ask for `tasks` in `phrases` that `mutators`
change; `campaign` sends them to a `target` (an `endpoint`, within the caps of a `budget`),
`scoring` judges the `answers`, a `journal` keeps what is finished, and `judging` holds the
`results` against limits.

Guarding: a prompt is looked at for signs of `injection` (by the `wording` that is known, through
all `encodings`), and a `guard` acts on what was seen. What comes from outside is cleaned of
`characters` that nobody sees and marked by `spotlight`; what the model answers is searched for
`canaries` through all `encodings`, and what would lead to other `hosts` than those allowed is taken
out of its `output`. Once untrusted text is in a session (`sessions`), `tools` with an effect are
denied or have to be confirmed; an alarm (`alerts`) tells of it, and `telemetry` counts.
"""

from mlsecops.llm.guard.alerts import Alarm
from mlsecops.llm.guard.guarded_tools import guarded_tool
from mlsecops.llm.guard.injection_detector import Detection, Signal, detect_injection
from mlsecops.llm.guard.output_filter import Filtered, OutputFilter
from mlsecops.llm.guard.prompt_guard import Action, Policy, PromptGuard, prompt_guard
from mlsecops.llm.guard.session import Session, ToolCall, UntrustedText, current_session
from mlsecops.llm.guard.spotlight import Spotlit, datamark, delimit, encode
from mlsecops.llm.redteam.answers import Answer, ToolRequest
from mlsecops.llm.redteam.attempts import Attempt, Expectation
from mlsecops.llm.redteam.budget import Caps
from mlsecops.llm.redteam.campaign import fuzz
from mlsecops.llm.redteam.endpoint import ChatEndpoint
from mlsecops.llm.redteam.gate import FuzzGate, FuzzJudgement, FuzzReading
from mlsecops.llm.redteam.generator import FAMILIES, draw_attempts
from mlsecops.llm.redteam.results import Campaign, ClassFigure, Result, earlier_figures
from mlsecops.llm.redteam.target import CallableTarget, Target
from mlsecops.llm.text.canaries import Canary, Sighting
from mlsecops.llm.text.encodings import Reading, readings
from mlsecops.llm.text.unicode import Sanitised, fold, sanitise

__all__ = [
    "FAMILIES",
    "Action",
    "Alarm",
    "Answer",
    "Attempt",
    "CallableTarget",
    "Campaign",
    "Canary",
    "Caps",
    "ChatEndpoint",
    "ClassFigure",
    "Detection",
    "Expectation",
    "Filtered",
    "FuzzGate",
    "FuzzJudgement",
    "FuzzReading",
    "OutputFilter",
    "Policy",
    "PromptGuard",
    "Reading",
    "Result",
    "Sanitised",
    "Session",
    "Sighting",
    "Signal",
    "Spotlit",
    "Target",
    "ToolCall",
    "ToolRequest",
    "UntrustedText",
    "current_session",
    "datamark",
    "delimit",
    "detect_injection",
    "draw_attempts",
    "earlier_figures",
    "encode",
    "fold",
    "fuzz",
    "guarded_tool",
    "prompt_guard",
    "readings",
    "sanitise",
]
