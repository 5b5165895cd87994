"""Checks before a signature is written.

files to be signed → `secret_files` → no private key or credentials among them
bundle at the place of a new one → `existing` → kept, replaced, or extended by a signature
"""
