from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.errors import UsageError
from mlsecops.llm import Canary
from tests.attackers.llm_guard import DISGUISES

ROOT = Path(__file__).parents[3]
CANARY = Canary.generate(token=lambda count: bytes(range(7, 7 + count)))


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_canary_is_seen_in_every_disguise(disguise: str) -> None:
    hidden = DISGUISES[disguise](CANARY.value)
    seen = CANARY.find(f"Of course. It says: {hidden} - does that help?")
    assert seen is not None
    assert seen.whole


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_disguise_of_another_secret_is_taken_for_it(disguise: str) -> None:
    other = Canary.generate().value
    assert CANARY.find(f"It says: {DISGUISES[disguise](other)}") is None


@pytest.mark.parametrize("disguise", ["spaced", "hex", "base64", "reversed", "rot13"])
def test_half_of_a_generated_canary_is_seen_as_a_part(disguise: str) -> None:
    hidden = DISGUISES[disguise](CANARY.value[5:17])
    seen = CANARY.find(f"It begins with {hidden} ...")
    assert seen is not None
    assert not seen.whole


def test_fewer_characters_than_a_part_are_no_sighting() -> None:
    assert CANARY.find(CANARY.value[:11]) is None


def test_the_simplest_way_is_told() -> None:
    seen = CANARY.find(CANARY.value)
    assert seen is not None
    assert seen.how == ("plain",)
    nested = CANARY.find(DISGUISES["base64 twice"](CANARY.value))
    assert nested is not None
    assert nested.how == ("base64", "base64")
    assert CANARY.find(DISGUISES["base64 twice"](CANARY.value), depth=1) is None


def test_letters_in_reverse_or_rotated_do_not_count_as_an_encoding() -> None:
    for hidden in (CANARY.value[::-1], DISGUISES["rot13"](CANARY.value)):
        assert CANARY.find(DISGUISES["base64 twice"](hidden))


def test_a_canary_of_ones_own_counts_whole_only() -> None:
    own = Canary(value="Blue-Heron 4711")
    assert own.find("the blue heron: 4711")
    assert own.find("the blue heron: 471") is None


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/signing.md"])
def test_text_that_was_never_told_the_secret_does_not_have_it(page: str) -> None:
    assert CANARY.find((ROOT / page).read_text("utf-8")) is None


def test_two_canaries_differ_and_neither_is_shown_by_its_repr() -> None:
    first, second = Canary.generate(), Canary.generate()
    assert first.value != second.value
    assert first.value not in repr(first)
    assert first.value in first.mark("You are a bank's assistant.")


@pytest.mark.parametrize("short", ["", "secret", "a-b-c-d-e-f-g", "\u200b" * 20])
def test_a_secret_too_short_to_be_told_from_text_is_refused(short: str) -> None:
    with pytest.raises(UsageError, match="at least 8"):
        Canary(value=short)


def test_a_part_longer_than_the_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="part"):
        Canary(value="abcdefghij", part=11)


def test_half_a_surrogate_pair_does_not_break_the_search() -> None:
    assert CANARY.find(f"\ud83d {CANARY.value} \udc00")


@given(st.text(max_size=300))
def test_no_text_breaks_the_search(text: str) -> None:
    assert CANARY.find(text) is None


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(sorted(DISGUISES)))
def test_what_stands_around_it_does_not_hide_it(before: str, after: str, disguise: str) -> None:
    assert CANARY.find(f"{before}\n{DISGUISES[disguise](CANARY.value)}\n{after}")
