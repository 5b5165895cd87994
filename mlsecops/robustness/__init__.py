"""Adversarial robustness: attacks, measurement and gates.

model, x, y → `evaluation` (`attacks`) → `report`: RobustnessReport with exact intervals
report → `gate` → pass, fail or inconclusive
report → `curve`, `per_class` → figures for pages
model → `adversarial_training` → hardened model
data frame → `tables`; regression, several labels, texts → `tasks` → the same evaluation
tree ensemble → `trees` → an attack and a lower bound, exact for one tree
model → `randomized_smoothing` → certified radius
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops._intervals import Interval as Interval
    from mlsecops._intervals import clopper_pearson as clopper_pearson
    from mlsecops.adapters.endpoint import Endpoint as Endpoint
    from mlsecops.robustness.adversarial_training import Hardening as Hardening
    from mlsecops.robustness.adversarial_training import harden as harden
    from mlsecops.robustness.attacks.apgd import APGD as APGD
    from mlsecops.robustness.attacks.base import Attack as Attack
    from mlsecops.robustness.attacks.corruptions import Corruption as Corruption
    from mlsecops.robustness.attacks.corruptions import Noise as Noise
    from mlsecops.robustness.attacks.gradient import FGSM as FGSM
    from mlsecops.robustness.attacks.gradient import PGD as PGD
    from mlsecops.robustness.attacks.gradient import suite as suite
    from mlsecops.robustness.attacks.hopskipjump import HopSkipJump as HopSkipJump
    from mlsecops.robustness.attacks.square import Square as Square
    from mlsecops.robustness.attacks.tabular import Table as Table
    from mlsecops.robustness.attacks.words import WordSubstitution as WordSubstitution
    from mlsecops.robustness.curve import Curve as Curve
    from mlsecops.robustness.curve import accuracy_curve as accuracy_curve
    from mlsecops.robustness.evaluation.evaluate import evaluate_robustness as evaluate_robustness
    from mlsecops.robustness.gate import Gate as Gate
    from mlsecops.robustness.gate import GateReading as GateReading
    from mlsecops.robustness.gate import Judgement as Judgement
    from mlsecops.robustness.per_class import Breakdown as Breakdown
    from mlsecops.robustness.per_class import Case as Case
    from mlsecops.robustness.per_class import by_class as by_class
    from mlsecops.robustness.per_class import worst_cases as worst_cases
    from mlsecops.robustness.randomized_smoothing import Certificate as Certificate
    from mlsecops.robustness.randomized_smoothing import certify as certify
    from mlsecops.robustness.report import ROBUSTNESS_PREDICATE as ROBUSTNESS_PREDICATE
    from mlsecops.robustness.report import Check as Check
    from mlsecops.robustness.report import Figure as Figure
    from mlsecops.robustness.report import RobustnessReport as RobustnessReport
    from mlsecops.robustness.trees.attack import TreeAttack as TreeAttack
else:
    __all__, __getattr__, __dir__ = lazy_face()
