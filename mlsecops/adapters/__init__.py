"""One view of every framework's model, with numpy at its edge.

A model goes into `adapt`, an `Adapter` comes out: `predict`, `logits`,
`loss_gradient` and `features` take and give float32 arrays, and so does the `pullback` that
differentiable ones have besides; `encode` and `decode` move weights as bytes without code.
The modules called `…_files` make the frameworks read bytes that `mlsecops.loading` has
checked; `quarantine_child` reads those that it refused, confined.
"""

from mlsecops.adapters.base import Adapter, Portable, Pullback, adapt

__all__ = ["Adapter", "Portable", "Pullback", "adapt"]
