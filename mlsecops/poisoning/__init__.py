"""Which rows of a training set may be poison, before training and after.

`screening` takes inputs and labels: `disagreement` asks whether the rest of the data contradicts a
label, `triggers` whether a label hangs on a patch (`ridge` is the model both questions are put to).
`activations` takes a trained model too and looks at how it keeps a class's rows apart. Both return
a `report` of ranked suspects with each detector's evidence, which never says "clean".
"""

from mlsecops.poisoning.activations import detect_poisoning
from mlsecops.poisoning.report import DatasetBaseline, PoisoningReport, Suspect
from mlsecops.poisoning.screening import screen_dataset

__all__ = [
    "DatasetBaseline",
    "PoisoningReport",
    "Suspect",
    "detect_poisoning",
    "screen_dataset",
]
