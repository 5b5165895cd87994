"""Red-team campaigns: generated attempts on a language model, judged and reported."""
