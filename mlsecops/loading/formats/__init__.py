"""Scanners of model formats: one module a format, bytes in, findings out."""
