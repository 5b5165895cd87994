"""Drift statistics: frozen baselines, histograms, distances, tests and outlier scores."""
