"""Red-team campaigns: seeded attacks on a language model, scored and gated.

`scenes`, `tasks`, `attack_texts`, `mutators` → `generator` → `attempts`
attempts → `campaign` (`budget`, `journal`) → `target` (`endpoint`) → `answers`
answers → `scoring` → `results` → `gate` → pass, fail or inconclusive
"""
