"""Programs and foreign code under the name of a model: refused, and named for what they are.

Source: ELF, PE and Mach-O magic numbers as in `file(1)`; Java Object Serialization Specification,
6.4.2; [MS-NRBF] 2.6.1 (BinaryFormatter).
"""

from __future__ import annotations

from collections.abc import Collection

from mlsecops.findings import Severity
from mlsecops.loading.kinds import Format
from mlsecops.loading.limits import Limits
from mlsecops.loading.signatures import FOREIGN, program
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked, unlisted


def examine_program(source: Source, _: Limits, allowed: Collection[str] = ()) -> Examination:
    """Refuse a program; `allowed`: `program` for those that were audited."""
    what = program(source.head()) or "a program"
    return _judged(source.name, what, Format.PROGRAM, allowed)


def examine_foreign_code(source: Source, _: Limits, allowed: Collection[str] = ()) -> Examination:
    """Refuse code of other languages; `allowed`: `foreign-code`."""
    return _judged(source.name, FOREIGN[source.head(2)], Format.FOREIGN_CODE, allowed)


def _judged(where: str, what: str, found: Format, allowed: Collection[str]) -> Examination:
    if found in allowed:
        return not_checked(where, f"{what} that was allowed by name and not analysed")
    problem = f"{what}, which runs when it is started or read; remove it"
    return Examination(
        findings=(
            unlisted(
                "executable", problem, found, where="", artifact=where, severity=Severity.HIGH
            ),
        )
    )
