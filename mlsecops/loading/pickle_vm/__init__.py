"""Symbolic execution of pickles: opcodes walked on a stack of symbols, nothing imported."""
