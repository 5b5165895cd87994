"""Held models: verified bytes in a private folder, for readers that take a path.

files → `held_folder` (`mounts`) → folder and Snapshot
"""
