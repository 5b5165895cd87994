from __future__ import annotations

from pathlib import Path

import pytest

from mlsecops._bounded.toml import parse_toml
from mlsecops.access import AccessPolicy
from mlsecops.errors import UsageError
from mlsecops.llm.redteam.grammar.application import read_application
from mlsecops.llm.redteam.grammar.own_attempts import read_attempts
from mlsecops.loading import scan
from mlsecops.monitoring import load_rules
from mlsecops.signing import TrustPolicy

DEEP = {
    "one key": "a" + ".a" * 200 + " = 1",
    "a table": "[a" + ".a" * 200 + "]",
    "spaces between the parts": "a" + " . a" * 200 + " = 1",
    "quoted parts": "a" + '."a"' * 200 + " = 1",
    "parts with commas and brackets": "a" + '.",=["' * 200 + " = 1",
    "digits": "1" + ".1" * 200 + " = 1",
    "digits between spaces": "1" + " . 1.1" * 100 + " = 1",
    "numbers of two digits": "11" + ".11" * 200 + " = 1",
    "an inline table": "a = {b" + ".b" * 200 + " = 1}",
}
"""Keys of so many parts that Python's parser takes memory by the square of their number."""


@pytest.mark.parametrize("name", DEEP)
def test_a_key_of_many_parts_is_refused_before_it_is_parsed(name: str) -> None:
    with pytest.raises(ValueError, match="dots in a line"):
        parse_toml(DEEP[name], what="a", error=ValueError)


def test_lists_of_numbers_and_ordinary_keys_are_read() -> None:
    text = "a.b.c = 1\nmean = [" + "0.25, -1.5e-3, " * 400 + "]\nname = '1.2.3'"
    read = parse_toml(text, what="a", error=ValueError)
    assert (read["a"], len(read["mean"])) == ({"b": {"c": 1}}, 800)


SENTENCES = "A sentence. " * 50
DISGUISED = {
    "equals signs in quoted parts": '"="' + '."="' * 200 + " = 1",
    "a bare key before them": 'a."="' + '."="' * 200 + " = 1",
    "a closed text of several lines": 'a = {b = """\nc = \'""", d' + ".d" * 200 + " = ''}",
    "after a text": 'a = ["x", {b' + ".b" * 200 + " = 1}]",
    "after a text in a table": 'a = {c = "", b' + ".b" * 200 + " = 1}",
}
"""Keys of many parts that look like texts."""


@pytest.mark.parametrize("quoted", [f'"{SENTENCES}"', f"'{SENTENCES}'", f'"\\"{SENTENCES}"'])
def test_a_text_of_many_sentences_is_read(quoted: str) -> None:
    assert parse_toml(f"system = {quoted}", what="a", error=ValueError)["system"]


@pytest.mark.parametrize("name", DISGUISED)
def test_no_text_hides_a_key_of_many_parts(name: str) -> None:
    with pytest.raises(ValueError, match="dots in a line"):
        parse_toml(DISGUISED[name], what="a", error=ValueError)


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(UsageError, match="a: not valid TOML: Exceeds the limit"):
        parse_toml("n = " + "1" * 5000, what="a", error=UsageError)


def test_a_document_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="characters of TOML"):
        parse_toml("#" * 1_000_001, what="a", error=ValueError)


def test_every_reader_of_toml_refuses_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(DEEP["one key"])
    readers = (TrustPolicy.load, AccessPolicy.load, load_rules, read_application, read_attempts)
    for read in readers:
        with pytest.raises(UsageError, match="dots in a line"):
            read(file)
    assert "dots in a line" in scan(file).unchecked[0].why
