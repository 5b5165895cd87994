"""Commands that scan, convert and load models."""
