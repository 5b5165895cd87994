"""Comparison of two robustness reports: change of each figure, with confidence bounds.

two reports on the same samples → `changes`, `incomparable`

If both reports hold each sample's outcome, only samples whose outcome differs matter (paired).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._intervals import CONFIDENCE, Interval, clopper_pearson

if TYPE_CHECKING:
    from mlsecops.robustness.report import Figure, RobustnessReport

_EACH: Final = 1 - (1 - CONFIDENCE) / 2  # confidence of each bound; Bonferroni for two bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Accuracy now minus then, with one-sided 95 % bounds; paired: each sample with itself."""

    name: str
    value: float
    interval: Interval
    paired: bool


def changes(now: RobustnessReport, then: RobustnessReport) -> tuple[Change, ...]:
    """The change of each figure in both reports: clean, each attack, and the worst case.

    The worst case is omitted if the attacks differ; on other samples nothing is comparable.
    """
    if not _same_samples(now, then):
        return ()
    pairs = [("clean", now.clean, then.clean)]
    pairs += [(name, now.attacks[name], then.attacks[name]) for name in _shared(now, then)]
    if len(pairs) - 1 == len(now.attacks) == len(then.attacks):
        pairs.append(("worst", now.worst, then.worst))
    return tuple(_change(name, new, old) for name, new, old in pairs)


def incomparable(now: RobustnessReport, then: RobustnessReport) -> Iterator[str]:
    """Reasons why the reports cannot be compared, or not in full."""
    if not _same_samples(now, then):
        yield (
            f"the earlier report measured other samples ({then.n} of {then.data_digest}, now "
            f"{now.n} of {now.data_digest}): measure both models on the same data"
        )
        return
    if now.bounds != then.bounds:
        yield f"the earlier report has bounds {then.bounds}, this one {now.bounds}"
    shared = _shared(now, then)
    for name, figure in then.attacks.items():
        if name not in now.attacks:
            yield f"{name}: is in the earlier report and did not run"
        elif name not in shared:
            yield (
                f"{name}: ran with {_settings(now.attacks[name].params)}, and in the earlier "
                f"report with {_settings(figure.params)}"
            )


def _same_samples(now: RobustnessReport, then: RobustnessReport) -> bool:
    return now.data_digest is not None and (now.data_digest, now.n) == (then.data_digest, then.n)


def _shared(now: RobustnessReport, then: RobustnessReport) -> list[str]:
    return [
        name
        for name, figure in now.attacks.items()
        if name in then.attacks and _plain(figure.params) == _plain(then.attacks[name].params)
    ]


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as read back from JSON."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in params.items()}


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())


def _change(name: str, now: Figure, then: Figure) -> Change:
    """The change and its bounds.

    The shares that became correct and wrong (unpaired: the two accuracies) get exact bounds at
    97.5 %, by Bonferroni, so that their difference holds with 95 %.

    Source: Clopper and Pearson (1934).
    """
    paired = now.outcomes is not None and then.outcomes is not None
    if paired:
        gained = int(np.count_nonzero(now.correct & ~then.correct))
        lost = int(np.count_nonzero(then.correct & ~now.correct))
    else:
        gained, lost = now.hits, then.hits
    up, down = (clopper_pearson(count, now.n, confidence=_EACH) for count in (gained, lost))
    interval = Interval(up.low - down.high, up.high - down.low)
    return Change(name=name, value=(gained - lost) / now.n, interval=interval, paired=paired)
