"""Alerts: rules over readings, and delivery to sinks.

readings → `alerting` → `rules` (from TOML: `rules_file`; of exported metrics: `metric_rules`)
→ `life` of each alert → Alert → `sinks` (over `delivery`, if the receiver may be slow)
"""
