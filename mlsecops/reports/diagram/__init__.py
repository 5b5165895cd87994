"""Architecture diagram: model, layout and SVG of a pipeline with its controls."""
