"""Model-extraction detection: client histories, scores and a sequential test per client."""
