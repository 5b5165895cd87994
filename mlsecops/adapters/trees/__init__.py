"""Tree ensembles of scikit-learn, XGBoost, LightGBM and CatBoost as arrays of nodes.

model → `reader` (`scikit`, `xgboost`, `lightgbm`, `catboost`) → `ensemble`: Ensemble → scores
Booster or Ensemble → `boosters` → Adapter
"""
