"""Robustness evaluation: attacks run over samples, and the measurement tested.

model, x, y → `evaluate` → `executor` → attacks → examples → accuracy
examples → `self_checks` (`probe`, `binarization_test`) → outcomes
two reports → `comparison` → regressions
`query_count`: samples sent through the model
"""
