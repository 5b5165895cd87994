"""Framework models behind one numpy interface.

model → `adapt` (`adaptation`) → Adapter (`base`: `pytorch`, `tensorflow`, `savedmodel`, …)
URL → `endpoint` → Adapter without gradients; `query_journal` keeps its answers
Adapter → predict, logits, loss_gradient, pullback, features → float32 arrays
Adapter → `training` → one training step
Adapter ↔ weights as bytes without code (`torch_weights`, `keras_weights`)
"""

from typing import TYPE_CHECKING

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.adapters.adaptation import adapt as adapt
    from mlsecops.adapters.base import Adapter as Adapter
    from mlsecops.adapters.base import Portable as Portable
    from mlsecops.adapters.base import Pullback as Pullback
else:
    __all__, __getattr__, __dir__ = lazy_face()
