"""CUSUM of many clients: sums of evidence that never fall below zero.

Source: Page, "Continuous inspection schemes", Biometrika 41 (1954).
"""

from __future__ import annotations

import numpy as np

from mlsecops.drift.inputs import Floats
from mlsecops.extraction.segments import Segments

__all__ = ["cusum"]


def cusum(starts: Floats, evidence: Floats, clients: Segments) -> Floats:
    """Sums after each row `(n, k)` of evidence `(n, k)`, from each client's start `(c, k)`.

    Clients with like numbers of rows are computed together.
    """
    result, sizes = np.empty_like(evidence), clients.sizes
    doublings = np.frexp(sizes)[1]  # the number of binary digits
    for doubling in {*doublings.tolist()} - {0}:
        chosen = np.flatnonzero(doublings == doubling)
        longest = np.arange(int(sizes[chosen].max()))
        places = clients.begins[chosen, None] + np.minimum(longest, sizes[chosen, None] - 1)
        total = evidence[places].cumsum(axis=1)
        lowest = np.minimum(np.minimum.accumulate(total, axis=1), -starts[chosen, None])
        own = longest < sizes[chosen, None]
        result[places[own]] = (total - lowest)[own]
    return result
