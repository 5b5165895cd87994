"""Symbolic execution of pickle opcodes: opcodes in, imports and findings out, nothing executed.

pickle → `walker` → `stack` (symbolic values) → `walk` (findings)
       calls  → `call_rules` → `call_sizes`, `torch_tensors`, `dtypes` (numbers against the file)
                             → `argument_kinds` (against the contract learned from honest files)
       states → `states` → `tree_states`, `compiled_states` (indices inside their arrays)
       arrays → `joblib_arrays` (raw bytes between opcodes), `arrays` (their numbers)
"""
