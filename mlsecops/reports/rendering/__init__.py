"""Rendering of pages and pictures.

text → `markup` (escaped) → `page` → HTML
series → `charts` (`text_width`) → SVG elements → `svg_picture` → SVG file
"""
