"""Data frames, and arrays with missing values, in an evaluation.

frame, Table → `columns`: what changes and how far → `encoding`: float32 rows → attacks
float32 rows → `encoding` → frame → the caller's model (`frame_model`)
pipeline, frame → `pipelines`: trees on the frame's own columns → `frame_space` → what is proven
"""
