"""Comparison of black-box with white-box attacks: an attack that sees less must not find more.

figures of both kinds, and a Square search on the samples that were left → `black_box_stronger`

Source: Carlini et al., "On evaluating adversarial robustness" (2019), section 4.2; Athalye, Carlini
and Wagner, "Obfuscated gradients give a false sense of security" (2018), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from mlsecops._intervals import clopper_pearson
from mlsecops.robustness.attacks.losses import is_correct
from mlsecops.robustness.attacks.square import Square
from mlsecops.robustness.report import Check, Outcome

if TYPE_CHECKING:
    from mlsecops.robustness.attacks.base import Attack
    from mlsecops.robustness.evaluation.probe import Probe
    from mlsecops.robustness.report import Figure

_MORE: Final = 0.03  # share of samples; chosen: see `python -m benchmarks attacks --part masks`
_QUERIES: Final = 300  # queries per sample of the Square search; chosen: bounds its cost


def black_box_stronger(
    attacks: Sequence[Attack],
    figures: Sequence[Figure],
    clean: Figure,
    probe: Probe | None,
) -> Check | None:
    """Samples that black-box attacks alone misclassify, in balls no wider than the white-box ones.

    Args:
        attacks: The attacks that ran.
        figures: Their figures, likewise.
        clean: Accuracy without an attack.
        probe: Samples that every attack left, for a search of Square; None to omit it.

    Returns:
        The check, or None where no attack follows gradients.
    """
    pairs = list(zip(attacks, figures, strict=True))
    white = [(attack, figure) for attack, figure in pairs if _by_gradient(attack)]
    if not white:
        return None
    stood = clean.correct.copy()
    for _, figure in white:
        stood &= figure.correct
    alone = np.zeros(len(stood), dtype=bool)
    widest: dict[str, float] = {}
    for attack, _ in white:
        widest[attack.norm] = max(widest.get(attack.norm, 0.0), attack.eps)
    names = []
    for attack, figure in pairs:
        if not _by_gradient(attack) and attack.eps <= widest.get(attack.norm, 0.0):
            alone |= stood & ~figure.correct
            names.append(attack.name)
    found, searched = _searched(probe, widest)
    # The share of all samples for which the searched ones stand.
    left = int((stood & ~alone).sum()) / max(clean.hits, 1)
    missed = clopper_pearson(found, searched).low * left if found else 0.0
    count, most = int(alone.sum()), max(clean.hits, 1)
    surely = max(clopper_pearson(count, most).low if count else 0.0, missed)
    reason = (
        f"{', '.join(names) or 'no black-box attack'} alone misclassified {count} of {clean.hits} "
        f"samples, and a Square search of {_QUERIES} queries {found} of {searched} that were left: "
        f"surely {surely:.1%} of all (limit {_MORE:.0%})"
    )
    outcome: Outcome = "inconclusive" if surely > _MORE else "pass"
    return Check(name="black-box-stronger", outcome=outcome, reason=reason)


def _by_gradient(attack: Attack) -> bool:
    return bool(getattr(attack, "needs_gradients", True))


def _searched(probe: Probe | None, widest: Mapping[str, float]) -> tuple[int, int]:
    """Samples that Square misclassifies among those that every attack left, and their number."""
    if probe is None or not len(probe.x) or "linf" not in widest:
        return 0, 0
    attack = Square(widest["linf"], queries=_QUERIES)
    examples = attack.perturb(
        probe.adapter, probe.x, probe.y, seed=probe.seed + 1, bounds=probe.bounds,
        batch_size=probe.batch_size,
    )  # fmt: skip
    return int((~is_correct(*probe.judged(examples))).sum()), len(probe.x)
