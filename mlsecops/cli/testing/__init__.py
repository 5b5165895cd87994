"""Commands that attack models, fuzz language models and screen data.

data → screen → suspects; model and data → attack → figures → gate; endpoint → fuzz → gate
"""
