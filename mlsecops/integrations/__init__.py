"""Integrations with other tools, one module for each, imported on demand.

    models    → art, art_attacks, art_poisoning, counterfit, garak, pyrit   attacks and detectors
    artifacts → dvc, mlflow, sagemaker, sigstore                     signatures, verification
    monitors  → prometheus, cloudwatch, live                         metrics and dashboards

Nothing below this package imports it.
"""
