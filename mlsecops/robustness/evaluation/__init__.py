"""Robustness evaluation: attacks run over samples, with checks of the measurement."""
