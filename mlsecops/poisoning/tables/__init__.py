"""Screening of tables, whose labels may follow any rule of their columns.

rows, labels → `label_rule` (one column decides), `shared_cells` → `table_triggers`
"""
