"""Machine-learning bill of materials (CycloneDX).

manifests, statements, figures → `build` (`formulation`) → bill
bill → `lint` → Findings
bill, model, data sets, keys → `verify` → `verification_report`: a state for each field
"""
