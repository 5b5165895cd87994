"""Which rows of a training set may be poison, before training and after.

Both calls ask first which labels the content contradicts (`contradiction`), then whether one cause
tells these labels all the same (`causes`). `screening` looks for the cause in the inputs
(`triggers`, `values`; drawn by `pictures`), and also at labels and outliers (`disagreement`), at
copies (`duplicates`) and at what moved from a trusted, perhaps signed, `baseline`. `activations`
looks for the cause inside a trained model. Both return a `report` of ranked suspects with each
detector's evidence, which never says "clean".
"""

from mlsecops.poisoning.activation_clustering import detect_poisoning
from mlsecops.poisoning.baseline import DatasetBaseline
from mlsecops.poisoning.report import PoisoningReport, Suspect, Trigger
from mlsecops.poisoning.screening import screen_dataset
from mlsecops.poisoning.trigger_images import trigger_png

__all__ = [
    "DatasetBaseline",
    "PoisoningReport",
    "Suspect",
    "Trigger",
    "detect_poisoning",
    "screen_dataset",
    "trigger_png",
]
