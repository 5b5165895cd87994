"""Answers of models: their form, the operation behind them, and the names of their classes.

answer → `output_form` → logits; torch module → `torch_tail` → last operation
labels → `class_names` → columns of the scores
"""
