"""Life of alerts: pending, firing, resolved.

breach of a rule → pending → firing → clear readings for the rule's cooldown → resolved

An alert that fires does not fire again, however often its reading crosses the threshold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mlsecops.monitoring.alerts.rules import AlertRule
from mlsecops.readings import Reading

_REMEMBERED: Final = 10_000  # lives; chosen: as many as clients are remembered

LifeKey: TypeAlias = tuple[str, str | None]
LifeStep: TypeAlias = Literal["fires", "resolves"]


@dataclass(slots=True, eq=False)
class AlertLife:
    """What is known of one rule's alert about one client or the whole model.

    Attributes:
        rule: The rule.
        reading: The latest reading that broke it.
        since: Unix time in seconds of the first breach in a row.
        breached: Unix time in seconds of the latest breach.
        clear: Whether a later reading kept to the threshold.
        firing: Whether the alert was raised; if not, it is pending.
        renewed: Unix time in seconds when the sinks last heard of it.
    """

    rule: AlertRule
    reading: Reading
    since: float
    breached: float
    clear: bool = False
    firing: bool = False
    renewed: float = 0.0

    def over(self, now: float) -> bool:
        """Whether it has kept to the threshold for long enough; a silent client counts as that."""
        quiet = self.clear or self.reading.client is not None
        # A clock that was set back must not keep an alert for as long.
        return quiet and abs(now - self.breached) >= self.rule.cooldown


class AlertLives:
    """The pending and firing alerts of one monitor."""

    def __init__(self) -> None:
        self._known: OrderedDict[LifeKey, AlertLife] = OrderedDict()

    @property
    def firing(self) -> bool:
        """Whether any alert fires."""
        return any(each.firing for each in self._known.values())

    def take(
        self, rule: AlertRule, reading: Reading, now: float
    ) -> Iterator[tuple[LifeStep, AlertLife]]:
        """Take a reading at a Unix time in seconds; yields what follows from it."""
        if rule.limit(reading) is None:
            return
        key = (rule.id, reading.client if rule.per == "client" else None)
        life = self._known.get(key)
        if not rule.breached(reading):
            if life is not None:
                life.clear = True
                if not life.firing:
                    del self._known[key]
            return
        if life is not None and life.firing and life.over(now):
            yield "resolves", self._known.pop(key)
            life = None
        if life is None:
            life = self._known[key] = AlertLife(rule, reading, since=now, breached=now)
        life.reading, life.breached, life.clear = reading, now, False
        self._known.move_to_end(key)
        if not life.firing and now - life.since >= rule.pending:
            life.firing, life.renewed = True, now
            yield "fires", life
        if len(self._known) > _REMEMBERED:
            _, oldest = self._known.popitem(last=False)
            if oldest.firing:
                yield "resolves", oldest

    def ended(self, now: float) -> list[AlertLife]:
        """Remove and return the firing alerts that are over at a Unix time in seconds."""
        keys = [key for key, each in self._known.items() if each.firing and each.over(now)]
        return [self._known.pop(key) for key in keys]

    def due(self, now: float, *, share: float) -> list[AlertLife]:
        """The firing alerts that nobody heard of for a share of what they last, now renewed."""
        found = [
            each
            for each in self._known.values()
            if each.firing and abs(now - each.renewed) >= share * each.rule.cooldown
        ]
        for each in found:
            each.renewed = now
        return found

    def expire(self, metrics: set[str]) -> None:
        """Take the readings of these metrics (by name) as gone, so that their alerts can end."""
        for each in self._known.values():
            if each.rule.metric in metrics:
                each.clear = True
