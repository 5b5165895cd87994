"""Detection of poisoned rows in training data.

    before training: rows → `screening` → `label_noise`, `duplicates`, `baseline`
                     images → `triggers`, `rare_values`, `images/` (`pattern_search`)
                     tables → `tables/` (`label_rule`, `shared_cells`)
    after training:  model, rows → `activation_clustering`, `images/` (`pattern_search`)
    both → `report`: PoisoningReport of ranked suspects → `trigger_images`

`flat_rows`, `row_blocks` and `image_layout` prepare the rows. A report never says "clean".
Detectors take flat inputs `x` `(n, d)` on `[0, 1]`, labels `y` `(n,)` in `[0, k)`, and whether the
content of each row contradicts its label, `contradicted` `(n,)`; `executor` runs blocks of rows.
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.poisoning.activation_clustering import detect_poisoning as detect_poisoning
    from mlsecops.poisoning.baseline import DatasetBaseline as DatasetBaseline
    from mlsecops.poisoning.report import PoisoningReport as PoisoningReport
    from mlsecops.poisoning.report import Suspect as Suspect
    from mlsecops.poisoning.report import Trigger as Trigger
    from mlsecops.poisoning.screening import screen_dataset as screen_dataset
    from mlsecops.poisoning.trigger_images import trigger_png as trigger_png
else:
    __all__, __getattr__, __dir__ = lazy_face()
