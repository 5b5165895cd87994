"""Rendering kit: escaped markup, page frame, charts and text measurement."""
