"""Bounded readers of container formats.

bytes → `zip_archive` → entries
bytes → `compression` → decompressed pieces, up to a limit
bytes → `protobuf` → fields
"""
