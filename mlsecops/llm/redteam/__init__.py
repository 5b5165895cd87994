"""Red-team campaigns: seeded attacks on a language model, scored and gated.

`grammar` (texts, scenes, application, mutators) → attempts
attempts → `campaign` (`budget`, `journal`, `conversation`) → `target` or `endpoint` → answers
answers (`answers`, `answer_streams`, `reasoning`) → `scoring` → outcomes
outcomes → `abilities`, `pairs` → `results` → `gate` → pass, fail or inconclusive
"""
