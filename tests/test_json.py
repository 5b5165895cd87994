from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlsecops._json import MAX_DEPTH, parse_json, parse_object
from mlsecops.errors import FormatRefused, MalformedBundle
from tests.ceilings import answered

PACKAGE = Path(__file__).parents[1] / "mlsecops"
INTERNAL = {  # values that this process wrote itself a moment before, or checked already
    "_json.py",
    "llm/redteam/conversation.py",
    "llm/redteam/results.py",
    "loading/sandbox/worker.py",
    "loading/sandbox/worker_main.py",
    "poisoning/baseline.py",
    "provenance/content/rows.py",
    "provenance/statement.py",
    "robustness/report.py",
    "signing/bundle.py",
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' appears more than once"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e999]", "number 1e999 is too large"),
        ("[1,", "not valid JSON"),
        ("\ufeff{}", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        ("{}".encode("utf-16"), "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"at most {MAX_DEPTH} levels"),
        ('{"a":' * 100_000, f"at most {MAX_DEPTH} levels"),
    ],
)
def test_what_is_no_strict_json_is_the_callers_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(FormatRefused, match=reason) as caught:
        parse_json(text, what="header of a.bin", error=FormatRefused)
    assert str(caught.value).startswith("header of a.bin: ")


def test_a_document_over_its_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MalformedBundle, match="at most 10 bytes of JSON, got 11"):
        parse_json(b"[" * 11, what="bundle", error=MalformedBundle, most=10)


def test_nesting_is_accepted_up_to_the_limit() -> None:
    parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, what="list", error=FormatRefused)


def test_constants_of_python_writers_are_accepted_on_request_alone() -> None:
    text = json.dumps({"time_step_limit": [0.0, float("inf")]})
    value = parse_object(text, what="config.json", error=FormatRefused, constants=True)
    assert value["time_step_limit"][1] == float("inf")


@pytest.mark.parametrize("text", ["[]", "null", "true", "3", '"a"'])
def test_an_object_is_demanded_where_one_is_expected(text: str) -> None:
    with pytest.raises(FormatRefused, match="expected a JSON object, got"):
        parse_object(text, what="bundle", error=FormatRefused)


def test_a_repeated_key_among_very_many_is_found_in_linear_time() -> None:
    names = [f'"{at}": 0' for at in range(200_000)]
    text = f"{{{', '.join([*names, names[-1]])}}}"

    def refused() -> None:
        with pytest.raises(FormatRefused, match="'199999' appears more than once"):
            parse_json(text, what="header", error=FormatRefused)

    answered(refused)


def test_no_other_module_parses_json_from_outside() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "json.load" in path.read_text(encoding="utf-8")
    }
    assert found <= INTERNAL
