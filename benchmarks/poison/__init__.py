"""Poisoned training sets, and networks trained on them."""
