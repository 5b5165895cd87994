"""Commands that attack models, fuzz language models and screen data."""
