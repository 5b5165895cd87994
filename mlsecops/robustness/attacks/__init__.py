"""Evasion attacks within a ball around each input.

x → `ball` → `gradient`, `apgd` (`losses`) → examples
x → `square`, `hopskipjump` (scores or labels only) → examples
x → `corruptions` → samples under noise
`base`: what all attacks share; `tabular`, `image_layout`: what may change in a sample
"""
