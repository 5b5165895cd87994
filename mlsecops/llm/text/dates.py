"""Dates and times of day as people write them in a text.

text → days (year if it is given, month, day) and times of day → whether a date stands in the text

Read are ISO 8601, names of months in English, and day.month.year; a day such as 3/4/2024, which two
countries read differently, is none.

Source: ISO 8601-1:2019, sections 5.2.2 and 5.3 (calendar dates, times of day).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Final, TypeAlias

__all__ = ["Dates", "without_dates"]

Day: TypeAlias = tuple[int | None, int, int]

_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_MONTH: Final = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS)
_NUMBER: Final = r"(?<![\w.])(\d{1,2})(?:st|nd|rd|th)?"
_YEAR: Final = r"(?:,?\s{1,2}(\d{4})(?!\w))?"
_ISO: Final = re.compile(r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?![\d-])")
_MONTH_FIRST: Final = re.compile(rf"\b({_MONTH})\.?\s{{1,2}}{_NUMBER}(?!\w){_YEAR}", re.IGNORECASE)
_DAY_FIRST: Final = re.compile(
    rf"{_NUMBER}\.?\s{{1,2}}(?:of\s{{1,2}})?({_MONTH})\b{_YEAR}", re.IGNORECASE
)
_POINTS: Final = re.compile(r"(?<![\w.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\w)")
_CLOCK: Final = re.compile(
    r"(?<![\w:.])(\d{1,2})(?::(\d{2})(?::\d{2})?(?:\s?(am|pm))?|\s?(am|pm))(?![\w:])", re.IGNORECASE
)
_NOON: Final = 12  # hours


class Dates:
    """Days and times of day that stand in a text.

    Examples:
        >>> dates = Dates("From January 11th to the 15th of January 2025, at 4 pm")
        >>> dates.hold("2025-01-11"), dates.hold("2025-01-15 16:00"), dates.hold("2026-01-15")
        (True, True, False)
    """

    def __init__(self, text: str) -> None:
        small = text.casefold()
        self._days = frozenset(_days(small))
        self._times = frozenset(_times(small))

    def hold(self, value: str | date) -> bool:
        """Whether a date, or a date with its time of day, stands in the text.

        A year that the text leaves open is open: May 3rd is May 3rd of any year.

        Args:
            value: A date or time of Python, or a text in ISO 8601.
        """
        moment = _moment(value)
        if moment is None:
            return False
        day, clock = moment
        if not {(day.year, day.month, day.day), (None, day.month, day.day)} & self._days:
            return False
        return clock is None or (clock.hour, clock.minute) in self._times


def _moment(value: str | date) -> tuple[date, time | None] | None:
    """The day and the time of day, or None if it is no date."""
    if isinstance(value, datetime):
        return value.date(), value.time()
    if isinstance(value, date):
        return value, None
    text = value.strip()
    if _ISO.match(text) is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.date(), found.time() if len(text) > len("2024-05-19") else None


def _days(text: str) -> Iterator[Day]:
    for found in _ISO.finditer(text):
        yield int(found[1]), int(found[2]), int(found[3])
    for found in _MONTH_FIRST.finditer(text):
        yield _year(found[3]), _month(found[1]), int(found[2])
    for found in _DAY_FIRST.finditer(text):
        yield _year(found[3]), _month(found[2]), int(found[1])
    for found in _POINTS.finditer(text):
        yield int(found[3]), int(found[2]), int(found[1])


def _year(text: str | None) -> int | None:
    return None if text is None else int(text)


def _month(name: str) -> int:
    return next(place for place, each in enumerate(_MONTHS, 1) if each.startswith(name[:3]))


def _times(text: str) -> Iterator[tuple[int, int]]:
    for found in _CLOCK.finditer(text):
        hour, minute, half = int(found[1]), int(found[2] or 0), found[3] or found[4]
        yield (hour % _NOON + _NOON * (half == "pm") if half else hour), minute


def without_dates(text: str) -> str:
    """A text with a sign in place of each date and time of day, whose numbers are no numbers.

    Examples:
        >>> without_dates("Room 12 on June 13 at 10:00")
        'Room 12 on \ufffd at \ufffd'
    """
    for pattern in (_ISO, _POINTS, _MONTH_FIRST, _DAY_FIRST, _CLOCK):
        text = pattern.sub("\ufffd", text)
    return text
