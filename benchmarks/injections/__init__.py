"""Injections and benign texts, separate for tuning and for measuring.

`tuning` was written with the detector and used for its development. `held_out` says the same in
other words, and `corpora` are public texts; neither was used for development.
"""
