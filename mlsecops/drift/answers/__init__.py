"""Answers of a model, of every kind: probabilities, numbers, labels, rankings, records and texts.

answers → `answer_schema` → features, to compare; with labels: `reference_answers` → accuracy,
calibration or `expected_loss`
"""
