"""File digests: each file opened without following links and read once.

path → `paths` → `tree` (names) or `remote` (URL) → `opening` → `hashing` → named digests
`stat_cache` skips unchanged files; `shards` cuts files into fixed sizes
"""
