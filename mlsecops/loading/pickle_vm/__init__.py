"""Symbolic execution of pickles: nothing is imported or called.

opcodes → `walker` on a `stack` of symbols → `result`: findings, imports, end
call → `call_rules`, `dtypes` → findings
`joblib_arrays`: raw array bytes to skip between opcodes
"""
