"""How a model stands under attack, and whether that is good enough.

Data flows one way: `attacks` turn inputs into examples (`descent` searches a batch, `margins` reads
the scores), `evaluation` recomputes the accuracy from the examples and has `checks` test the
measurement, the `report` holds figures with the bounds of `metrics`, and a `gate` judges it, alone
or (`regression`) against an earlier one.
"""

from mlsecops.robustness.attacks import FGSM, PGD, Attack, suite
from mlsecops.robustness.evaluation import evaluate_robustness
from mlsecops.robustness.gate import Gate, Judgement, Reading
from mlsecops.robustness.metrics import Interval, clopper_pearson
from mlsecops.robustness.report import ROBUSTNESS_PREDICATE, Check, Figure, RobustnessReport

__all__ = [
    "FGSM",
    "PGD",
    "ROBUSTNESS_PREDICATE",
    "Attack",
    "Check",
    "Figure",
    "Gate",
    "Interval",
    "Judgement",
    "Reading",
    "RobustnessReport",
    "clopper_pearson",
    "evaluate_robustness",
    "suite",
]
