"""Which controls a monitored function has, by the names that architecture diagrams use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

ControlKind: TypeAlias = Literal["guard", "detector"]

DROPS: Final = "Dropped calls counted"
LABELS: Final = "Accuracy on labels"
WITH_BASELINE: Final = ("Drift", "Input anomaly")


def controls_of(
    *, guards: Iterable[object], detectors: Iterable[object], baseline: object, labels: object
) -> dict[str, ControlKind]:
    """Names of the controls that are configured.

    Args:
        guards: Guards; those with a `control` name count.
        detectors: Detectors; those with a `control` name count.
        baseline: Normal traffic, or None.
        labels: What gives the request id under which labels arrive, or None.
    """
    named: dict[str, ControlKind] = {DROPS: "detector"}
    if baseline is not None:
        named.update(dict.fromkeys(WITH_BASELINE, "detector"))
    if labels is not None:
        named[LABELS] = "detector"
    named.update(_named(detectors, "detector"))
    named.update(_named(guards, "guard"))
    return named


def _named(parts: Iterable[object], kind: ControlKind) -> dict[str, ControlKind]:
    names = (getattr(part, "control", None) for part in parts)
    return {name: kind for name in names if isinstance(name, str)}
