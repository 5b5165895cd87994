"""Refusal of plain values that have another form than a report's.

JSON value → block that reads it → its result, or a UsageError that says what was expected
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.reports.redaction import shown

_SHOWN = 200  # characters of the reason; chosen: one line


@contextmanager
def well_formed(what: str, source: str) -> Iterator[None]:
    """A block that reads plain values, in which a value of another form is wrong use.

    Args:
        what: Name of the argument.
        source: What makes values of the right form.

    Raises:
        UsageError: A value is missing, of another type, or too large.

    Examples:
        >>> with well_formed("report", "Report.to_dict()"):
        ...     {}["clean"]
        Traceback (most recent call last):
        mlsecops.errors.UsageError: report: expected what Report.to_dict() makes, got one \
that is malformed: KeyError: 'clean'
    """
    try:
        yield
    except MLSecOpsError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(
            f"{what}: expected what {source} makes, got one that is malformed: "
            f"{type(error).__name__}: {shown(error, most=_SHOWN)}"
        ) from error
