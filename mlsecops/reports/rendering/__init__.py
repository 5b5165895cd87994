"""Rendering of pages and pictures.

text → `markup` (escaped) → `page` → HTML
numbers → `charts` → `elements` (`text_width`) → SVG in a page, or `svg_picture` → SVG file
"""
