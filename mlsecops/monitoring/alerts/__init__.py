"""Alerts: rules over readings, and delivery to sinks.

readings → `rules` (from TOML: `rules_file`; of exported metrics: `metric_rules`) → Alert
Alert → `sinks` (over `delivery`, if the receiver may be slow)
"""
