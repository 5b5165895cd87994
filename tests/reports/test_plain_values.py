"""Reports of values that somebody else wrote: another form is wrong use, never another error."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops import errors
from mlsecops.provenance import Statement, hash_path
from mlsecops.reports import build_bom, dashboard_page, robustness_page, spdx_document
from mlsecops.reports.rendering import text_width
from tests.reports.pages.test_pages import snapshot
from tests.reports.releases import robustness_report

ODD = (
    None, True, -1, 10**400, float("nan"), float("inf"), "", "x", "\ud800", [], [1], {}, {"a": []},
)  # fmt: skip
"""Values that a JSON file may hold in any place."""


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:3])
    for key, each in items:
        yield (*before, key)
        if isinstance(each, (dict, list)):
            yield from places(each, (*before, key))


def altered(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    changed = copy.deepcopy(value)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if odd is ODD:
        del holder[place[-1]]
    else:
        holder[place[-1]] = odd
    return changed


def refused(value: Any, read: Callable[[Any], Any]) -> int:
    """Number of alterations that were refused; any error that is not ours is raised."""
    count, rng = 0, random.Random(0)  # noqa: S311 - a choice of cases
    cases = [(place, odd) for place in places(value) for odd in (*ODD, ODD)]
    for place, odd in rng.sample(cases, min(len(cases), 120)):
        try:
            read(altered(value, place, odd))
        except errors.UsageError as error:
            assert "expected" in str(error)  # noqa: PT017 - any alteration may be read as well
            count += 1
    return count


def test_a_malformed_snapshot_is_wrong_use() -> None:
    assert refused(snapshot("a"), lambda value: dashboard_page([value], name="m"))


def test_a_malformed_robustness_report_is_wrong_use() -> None:
    report = robustness_report()
    assert refused(report, robustness_page)
    assert refused(report, lambda value: robustness_page(report, before=value, floor=0.5))


def test_a_long_name_is_measured_once_not_once_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, measured = text_width._advance, 0

    def counted(character: str) -> float:
        nonlocal measured
        measured += 1
        return real(character)

    monkeypatch.setattr(text_width, "_advance", counted)
    name = "m" * 2000
    assert text_width.fit(name, 100, 13).endswith("m…")
    assert text_width.wrap(f"{name} {name}", 100, 13)[1].endswith("m…")
    assert measured < 10 * len(name)


def test_a_malformed_bill_has_no_spdx_document(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"w")
    bill = build_bom(name="m", manifest=hash_path(tmp_path), datasets={"d": hash_path(tmp_path)})
    few = [each for each in bill["components"] if each["type"] != "library"]
    kept = {each["bom-ref"] for each in few}
    links = [each for each in bill["dependencies"] if each["ref"] in kept]
    bill |= {"components": few, "dependencies": [{**each, "dependsOn": []} for each in links]}
    assert spdx_document(bill)
    assert refused(bill, spdx_document)


def test_a_statement_of_a_name_that_is_no_utf_8_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"w")
    root = hash_path(tmp_path).root
    with pytest.raises(errors.UsageError, match="expected values for JSON"):
        Statement.build(subjects={"m": root}, predicate_type="https://a.invalid/b",
                        predicate={"name": "m\udcff"})  # fmt: skip
