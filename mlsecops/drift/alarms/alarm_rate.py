"""Declared rate of false alarms, and what one look at a window may therefore risk.

"1/week", rows a second → AlarmRate.risk → probability of a false alarm at one look
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mlsecops._repr import concise_repr
from mlsecops.errors import UsageError

_SECONDS: Final = {
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_629_800.0,
    "year": 31_557_600.0,
}
_TEXT: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)/(hour|day|week|month|year)")
_LARGEST_RISK: Final = 1e-4  # of one look; chosen: slow traffic needs strong evidence too
USUAL_ROWS: Final = 10.0  # rows a second; chosen: assumed until an hour of traffic was seen
AN_HOUR: Final = 3600.0  # seconds


@concise_repr()
@dataclass(frozen=True, slots=True)
class AlarmRate:
    """A number of false alarms in a time.

    Attributes:
        alarms: How many, > 0.
        unit: `"hour"`, `"day"`, `"week"`, `"month"` or `"year"`.

    Examples:
        >>> AlarmRate.parse("1/week")
        AlarmRate(alarms=1, unit='week')
    """

    alarms: float
    unit: str

    @classmethod
    def parse(cls, text: str, argument: str = "false_alarms") -> AlarmRate:
        """Parse `"1/week"`; raises `UsageError` that names the argument."""
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None or float(found[1]) <= 0:
            raise UsageError(
                f"{argument}: expected a rate such as '1/week' (hour, day, week, month, year), "
                f"got {text!r}"[:200]
            )
        return cls(float(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.alarms:g}/{self.unit}"

    @property
    def per_second(self) -> float:
        """Alarms a second."""
        return self.alarms / _SECONDS[self.unit]

    def risk(self, rows_per_second: float, rows: int) -> float:
        """Largest probability of a false alarm at one look, where each has so many new rows."""
        looks = max(rows_per_second, 1e-9) / rows
        return min(_LARGEST_RISK, self.per_second / looks)

    def alarms_at(self, risk: float, rows_per_second: float, rows: int) -> float:
        """Alarms in this rate's unit of time that looks of such a risk raise."""
        return risk * rows_per_second / rows * _SECONDS[self.unit]


WEEKLY: Final = AlarmRate(1.0, "week")  # chosen: a person on call reads one alarm a week
