"""Drift statistics: frozen baselines and comparisons of later data with them.

rows, probabilities → `inputs` → `baseline`: Baseline (`reference`, `histograms`,
                      `quantile_sketch`, `array_files`)
rows, Baseline → `tests` (`distances`), `joint_drift` → DriftReport
rows → `outliers`, `feature_outliers` → outlier scores
stream → `rolling_window`, `change_detection` → changes
unlabelled answers → `performance_estimation`, `loss_estimation` (`boosted_trees`) → estimates
"""
