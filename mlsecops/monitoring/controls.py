"""Controls of a monitored function, by their names in architecture diagrams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

ControlKind: TypeAlias = Literal["guard", "detector"]

DROPS: Final = "Dropped-call counter"
LABELS: Final = "Accuracy on labels"
WITH_BASELINE: Final = ("Drift", "Input anomaly")


def controls_of(
    *, guards: Iterable[object], detectors: Iterable[object], baseline: object, labels: object
) -> dict[str, ControlKind]:
    """Names of the configured controls; guards and detectors name theirs by `control`."""
    kinds: tuple[tuple[Iterable[object], ControlKind], ...] = (
        (detectors, "detector"),
        (guards, "guard"),
    )
    named: dict[str, ControlKind] = {DROPS: "detector"}
    if baseline is not None:
        named.update(dict.fromkeys(WITH_BASELINE, "detector"))
    if labels is not None:
        named[LABELS] = "detector"
    for parts, kind in kinds:
        names = (getattr(part, "control", None) for part in parts)
        named.update({name: kind for name in names if isinstance(name, str)})
    return named
