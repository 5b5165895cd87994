"""Tree ensembles: exact attack, and a lower bound of the accuracy that no attack can pass.

Ensemble (`adapters.trees`), inputs → `space`: boxes of each ball → `boxes`: leaves of a box
boxes, `goals` → `verification` → `cells` and `search`: branch and bound → proven, beaten, undecided
`attack`: TreeAttack, an Attack → examples; `proof` → `report.certified` of `evaluate_robustness`
"""
