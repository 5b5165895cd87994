"""Inputs of a scan: the entries of a folder, and files of a hub or bucket.

folder → `entries` → files, and verdicts on what is none
URL → `remote` → the same files, one after the other in a private folder
"""
