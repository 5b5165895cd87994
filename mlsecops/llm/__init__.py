"""Red-team tests and guards for language-model applications.

    redteam:  attempts → target or endpoint → answers → scoring → results → gate
    guard:    prompt → prompt_guard → model → guarded tools, output filter → answer
              document → session → spotlight ↗      attacks → alerts, telemetry
    serving:  call → instrument_chat → answer or stream → metrics of `gen_ai.*`, span
    text:     unicode → encodings → canaries, used by both

Testing: `draw_attempts` generates attacks and benign questions, `fuzz` sends them to a `Target`,
scores the answers without a model as a judge, and a `FuzzGate` compares the rates with limits.

Guarding: `detect_injection` informs a `Policy`; `sanitise` and `datamark` prepare untrusted text;
a `Session` that holds such text denies tools with an effect; `OutputFilter` limits where links of
an answer lead; a `Canary` proves a leak. Only what does not depend on detection is a control.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.llm.guard.alerts import Alarm as Alarm
    from mlsecops.llm.guard.detectors import llm_guard_detector as llm_guard_detector
    from mlsecops.llm.guard.detectors import onnx_detector as onnx_detector
    from mlsecops.llm.guard.guarded_tools import guarded_tool as guarded_tool
    from mlsecops.llm.guard.injection_detector import Detection as Detection
    from mlsecops.llm.guard.injection_detector import Signal as Signal
    from mlsecops.llm.guard.injection_detector import detect_injection as detect_injection
    from mlsecops.llm.guard.output_filter import AnswerFilter as AnswerFilter
    from mlsecops.llm.guard.output_filter import Filtered as Filtered
    from mlsecops.llm.guard.output_filter import OutputFilter as OutputFilter
    from mlsecops.llm.guard.prompt_guard import Action as Action
    from mlsecops.llm.guard.prompt_guard import Policy as Policy
    from mlsecops.llm.guard.prompt_guard import PromptGuard as PromptGuard
    from mlsecops.llm.guard.prompt_guard import prompt_guard as prompt_guard
    from mlsecops.llm.guard.session import Session as Session
    from mlsecops.llm.guard.session import ToolCall as ToolCall
    from mlsecops.llm.guard.session import UntrustedText as UntrustedText
    from mlsecops.llm.guard.session import current_session as current_session
    from mlsecops.llm.guard.spotlight import Spotlit as Spotlit
    from mlsecops.llm.guard.spotlight import datamark as datamark
    from mlsecops.llm.guard.spotlight import delimit as delimit
    from mlsecops.llm.guard.spotlight import encode as encode
    from mlsecops.llm.guard.tools.effects import check_effects as check_effects
    from mlsecops.llm.guard.tools.mcp_session import VerifiedTools as VerifiedTools
    from mlsecops.llm.guard.tools.tool_definitions import ToolHashes as ToolHashes
    from mlsecops.llm.guard.tools.tool_definitions import hash_tools as hash_tools
    from mlsecops.llm.guard.tools.tool_definitions import scan_tools as scan_tools
    from mlsecops.llm.guard.tools.tool_definitions import verify_tools as verify_tools
    from mlsecops.llm.redteam.answers import Answer as Answer
    from mlsecops.llm.redteam.answers import ToolRequest as ToolRequest
    from mlsecops.llm.redteam.attempts import Attempt as Attempt
    from mlsecops.llm.redteam.attempts import Expectation as Expectation
    from mlsecops.llm.redteam.budget import Caps as Caps
    from mlsecops.llm.redteam.campaign import fuzz as fuzz
    from mlsecops.llm.redteam.endpoint import ChatEndpoint as ChatEndpoint
    from mlsecops.llm.redteam.gate import FuzzGate as FuzzGate
    from mlsecops.llm.redteam.gate import FuzzJudgement as FuzzJudgement
    from mlsecops.llm.redteam.gate import FuzzReading as FuzzReading
    from mlsecops.llm.redteam.grammar.application import Application as Application
    from mlsecops.llm.redteam.grammar.families import FAMILIES as FAMILIES
    from mlsecops.llm.redteam.grammar.generator import draw_attempts as draw_attempts
    from mlsecops.llm.redteam.grammar.own_attempts import read_attempts as read_attempts
    from mlsecops.llm.redteam.grammar.scenes import Scene as Scene
    from mlsecops.llm.redteam.pairs import SpotlightEffect as SpotlightEffect
    from mlsecops.llm.redteam.results import Campaign as Campaign
    from mlsecops.llm.redteam.results import ClassFigure as ClassFigure
    from mlsecops.llm.redteam.results import Result as Result
    from mlsecops.llm.redteam.results import earlier_figures as earlier_figures
    from mlsecops.llm.redteam.target import CallableTarget as CallableTarget
    from mlsecops.llm.redteam.target import Target as Target
    from mlsecops.llm.serving.instrument import instrument_chat as instrument_chat
    from mlsecops.llm.serving.usage import TokenPrice as TokenPrice
    from mlsecops.llm.text.canaries import Canary as Canary
    from mlsecops.llm.text.canaries import Sighting as Sighting
    from mlsecops.llm.text.encodings import DecodedText as DecodedText
    from mlsecops.llm.text.encodings import readings as readings
    from mlsecops.llm.text.unicode import Sanitised as Sanitised
    from mlsecops.llm.text.unicode import fold as fold
    from mlsecops.llm.text.unicode import sanitise as sanitise
else:
    __all__, __getattr__, __dir__ = lazy_face()
