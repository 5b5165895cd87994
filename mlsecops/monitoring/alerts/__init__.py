"""Alert rules and delivery.

readings, metrics (`metric_rules`) → `rules` → Alert → `delivery` → `sinks`
TOML ↔ `rules_file` ↔ rules
"""
