"""Text analysis: Unicode confusables, encodings and canary tokens."""
