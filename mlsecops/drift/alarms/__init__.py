"""Drift alarms at a declared rate: thresholds learnt from the order of the reference.

reference rows in order → `dependence`, `rhythm` → effective rows of a window
traffic → `sliding_windows` → `sequential_test` (`evidence`, `alarm_rate`) → DriftReport
Baseline → `sensitivity` → smallest shift that is still found
"""
