"""Architecture diagram of a pipeline.

states of controls → `blueprint` → `model`: Architecture → `layout` → `shapes` → `svg`
Architecture → `threats`: the control against each attack
"""
