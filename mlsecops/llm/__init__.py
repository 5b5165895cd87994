"""Testing and guarding language-model endpoints."""
