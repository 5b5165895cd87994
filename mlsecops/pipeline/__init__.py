"""Secured pipeline of one model, and its six deliverables.

parts of a pipeline → `secure_pipeline` → `binding`: each part is of the model's digest
→ `control_states`: enforced, advisory or absent → `delivery`: files in a folder
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.pipeline.binding import BOM_PREDICATE as BOM_PREDICATE
    from mlsecops.pipeline.delivery import Delivery as Delivery
    from mlsecops.pipeline.secure_pipeline import SecurePipeline as SecurePipeline
else:
    __all__, __getattr__, __dir__ = lazy_face()
