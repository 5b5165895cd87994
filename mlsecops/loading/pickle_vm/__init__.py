"""Symbolic execution of pickle opcodes: opcodes in, imports and findings out, nothing executed.

pickle → `walker` → `stack` (symbolic values)
                  → `call_rules` (arguments of calls), `dtypes` (NumPy types)
                  → `joblib_arrays` (raw bytes between opcodes)
"""
