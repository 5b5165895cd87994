"""How a model stands under attack, and whether that is good enough.

Data flows one way: `attacks` (and `apgd`, `square`, `hopskipjump`, `corruptions`, all of them what
`base` says) turn inputs into examples in a `ball`, climbing `losses` of the scores that `margins`
reads, where a `table` allows it and on the workers that `shards` go to. `evaluation` recomputes the
accuracy from the examples and has `checks` test the measurement (`altered` builds models in which
an example must exist), the `report` holds figures with exact bounds, and a `gate` judges
it, alone or (`regression`) against an earlier one. A served model is an `endpoint`, whose paid
answers a `journal` keeps. Where a gate fails, `hardening` trains on what the attack found;
`smoothing` proves a radius where the others measure; a `curve` and a `breakdown` are what reports
draw.
"""

from mlsecops._intervals import Interval, clopper_pearson
from mlsecops.adapters.endpoint import Endpoint
from mlsecops.robustness.adversarial_training import Hardening, harden
from mlsecops.robustness.attacks.apgd import APGD
from mlsecops.robustness.attacks.base import Attack
from mlsecops.robustness.attacks.corruptions import Corruption, Noise
from mlsecops.robustness.attacks.gradient import FGSM, PGD, suite
from mlsecops.robustness.attacks.hopskipjump import HopSkipJump
from mlsecops.robustness.attacks.square import Square
from mlsecops.robustness.attacks.tabular import Table
from mlsecops.robustness.curve import Curve, accuracy_curve
from mlsecops.robustness.evaluation.evaluate import evaluate_robustness
from mlsecops.robustness.gate import Gate, Judgement, Reading
from mlsecops.robustness.per_class import Breakdown, Case, by_class, worst_cases
from mlsecops.robustness.randomized_smoothing import Certificate, certify
from mlsecops.robustness.report import ROBUSTNESS_PREDICATE, Check, Figure, RobustnessReport

__all__ = [
    "APGD",
    "FGSM",
    "PGD",
    "ROBUSTNESS_PREDICATE",
    "Attack",
    "Breakdown",
    "Case",
    "Certificate",
    "Check",
    "Corruption",
    "Curve",
    "Endpoint",
    "Figure",
    "Gate",
    "Hardening",
    "HopSkipJump",
    "Interval",
    "Judgement",
    "Noise",
    "Reading",
    "RobustnessReport",
    "Square",
    "Table",
    "accuracy_curve",
    "by_class",
    "certify",
    "clopper_pearson",
    "evaluate_robustness",
    "harden",
    "suite",
    "worst_cases",
]
