"""Scanners of gradient boosting libraries' own formats: XGBoost, LightGBM, CatBoost, PMML.

model file → trees → children inside their arrays → Findings

The libraries' C++ code follows a tree's children without a check, so that an index outside reads
foreign memory. None of these formats can name code; PMML is XML and could name other files.
"""
