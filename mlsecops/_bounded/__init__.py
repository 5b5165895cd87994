"""Bounds on what comes from outside: time and memory of a whole, entries of a map, TOML text."""
