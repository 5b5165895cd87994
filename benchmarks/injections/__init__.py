"""Texts that instruct a model and texts that do not, apart for tuning and for measuring.

``tuning`` was written with the detector and looked at while it was made. ``held_out`` was written
as other words for the same ends, and ``corpora`` are other people's texts; neither was looked at
when the detector was changed.
"""
