"""Guards for language-model applications.

prompt → `injection_detector` (`injection_patterns`) → `prompt_guard` → model
outside text → `spotlight` → prompt; the `session` records its source
answer → `output_filter` (`link_hosts`) → reader
tool call → `guarded_tools` (`session`) → allow, confirm or deny
decisions → `alerts`, `telemetry`
"""
