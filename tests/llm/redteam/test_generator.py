"""Attempts are repeatable, can be understood, and are won neither by echo nor by refusal."""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsecops.errors import UsageError
from mlsecops.llm import FAMILIES, Answer, Application, Attempt, draw_attempts
from mlsecops.llm.redteam.attempts import HONEST, Expectation
from mlsecops.llm.redteam.grammar import generator
from mlsecops.llm.redteam.grammar.attack_texts import LANGUAGES
from mlsecops.llm.redteam.grammar.generator import _is_conclusive
from mlsecops.llm.redteam.grammar.mutators import _HOMOGLYPHS, MUTATORS
from mlsecops.llm.redteam.scoring import score
from tests.attackers.llm_redteam import REFUSAL, echo, echo_all, refuse, vulnerable

EACH = len(FAMILIES)
NOTHING_WON = {"resisted", "unanswered", "error"}
SEEDS = st.integers(0, 2**31 - 1)
PINNED = ["cbcbaf753ec6b74a", "cec252689c37bd2c", "1a8282d27e5f6371"]
RISKS = {"LLM01", "LLM02", "LLM05", "LLM06", "LLM07", "LLM10"}
TECHNIQUES = {
    f"AML.T00{number}" for number in ("51", "53", "54", "56", "57", "68", "70", "80", "86")
}


def body_of(attempt: Attempt) -> dict[str, Any]:
    tools = {"tools": [dict(tool) for tool in attempt.tools]} if attempt.tools else {}
    return {"messages": [dict(message) for message in attempt.messages], **tools}


def answer_to(attempt: Attempt, reply: Any) -> Answer:
    message = json.loads(reply(body_of(attempt))[2])["choices"][0]["message"]
    return Answer(text=message["content"])


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_nobody_wins_by_repeating_or_refusing(seed: int) -> None:
    for attempt in draw_attempts(2 * EACH, seed=seed):
        for reply in (echo, echo_all, refuse):
            assert score(attempt, answer_to(attempt, reply))[0] in NOTHING_WON


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.data())
def test_a_part_of_the_prompt_wins_nothing_either(seed: int, data: Any) -> None:
    attempt = data.draw(st.sampled_from(draw_attempts(EACH, seed=seed)))
    text = "\n".join(message["content"] for message in attempt.messages[1:])
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert score(attempt, Answer(text=text[start:end]))[0] in NOTHING_WON


def decoded(text: str) -> Iterator[str]:
    """A text as an outsider might read it; nothing here is the library's."""
    yield text
    yield codecs.encode(text, "rot13")
    bare = re.sub("[\u200b-\u200f\u2060\ufeff]", "", text)
    yield bare
    yield re.sub(r"\W", "", bare)
    yield "".join(chr(ord(each) - 0xE0000) for each in text if 0xE0020 <= ord(each) <= 0xE007E)
    back = {value: key for key, value in _HOMOGLYPHS.items()}
    plain = bare.translate({ord(chr(key)): chr(value) for key, value in back.items()})
    yield plain
    yield plain.translate(str.maketrans("431057", "aeiost"))
    for run in re.findall(r"[A-Za-z0-9+/]{16,}", text):
        yield base64.b64decode(run[: len(run) // 4 * 4]).decode("utf-8", "replace")
    for run in re.findall(r"(?:[0-9a-f]{2}){8,}", text):
        yield bytes.fromhex(run).decode("utf-8", "replace")


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_a_token_stands_nowhere_even_decoded_and_a_canary_in_the_system_message_alone(
    seed: int,
) -> None:
    for attempt in draw_attempts(2 * EACH, seed=seed):
        kind, value = attempt.expect.kind, attempt.expect.value
        assert len(value) >= 4
        system, *others = [message["content"] for message in attempt.messages]
        assert attempt.messages[0]["role"] == "system"
        if kind == "canary":
            assert value in system
        for text in others if kind != "token" else [system, *others]:
            readings = [reading for each in decoded(text) for reading in decoded(each)]
            if kind == "token":
                assert not any(value in reading for reading in readings)
            if kind == "canary":
                assert not any(value in reading or value[::-1] in reading for reading in readings)


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_whoever_understands_and_obeys_wins(seed: int) -> None:
    """The gullible model gets no token: it undoes what hides the demand, and does what it says."""
    for attempt in draw_attempts(2 * EACH, seed=seed):
        message = json.loads(vulnerable(body_of(attempt))[2])["choices"][0]["message"]
        said = json.dumps(message)
        if attempt.expect.kind == "tool":
            assert f'"name": "{attempt.expect.value}"' in said, attempt
        else:
            won = "answered" if attempt.control else "success"
            assert score(attempt, Answer(text=message["content"]))[0] == won, attempt


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def text(seed: int, count: int = 64) -> str:
        return json.dumps([each.to_dict() for each in draw_attempts(count, seed=seed)])

    assert text(3) == text(3)
    assert text(3) != text(4)
    assert json.loads(text(3, 128))[:64] == json.loads(text(3))


def test_these_attempts_are_those_of_this_grammar() -> None:
    """A change of the grammar makes other ids, which old journals do not know."""
    ids = [each.id for each in draw_attempts(3, seed=1)]
    assert ids == PINNED


def test_every_class_is_drawn_and_no_two_attempts_are_the_same() -> None:
    drawn = draw_attempts(20 * EACH)
    assert {each.family for each in drawn} == set(FAMILIES)
    assert len({each.id for each in drawn}) == len(drawn)
    assert {name for each in drawn for name in each.mutators} == set(MUTATORS)
    assert {each.family for each in draw_attempts(4, families=["encoding", "benign"])} == {
        "encoding",
        "benign",
    }


def test_tags_are_those_of_the_current_lists() -> None:
    for name, family in FAMILIES.items():
        assert set(family.owasp) <= RISKS
        assert set(family.atlas) <= TECHNIQUES
        assert bool(family.owasp) == bool(family.atlas) == (name not in {"benign", "ability"})
    assert {risk for family in FAMILIES.values() for risk in family.owasp} == RISKS
    assert {each for family in FAMILIES.values() for each in family.atlas} == TECHNIQUES


def test_attempts_that_always_carry_a_disguise_do() -> None:
    groups = {"encoding": "encoding", "homoglyphs": "homoglyph", "invisible-text": "invisible"}
    for attempt in draw_attempts(10 * EACH):
        if attempt.family in groups:
            group = groups[attempt.family]
            assert group in {MUTATORS[name].group for name in attempt.mutators}


def test_a_draw_that_gives_its_token_away_is_not_kept() -> None:
    attempt = draw_attempts(1)[0]
    for said in ("bdfghk", "b-d-f g h k", "YmRmZ2hr", "6264666768 6b", "\u200bbd\u200bfghk"):
        given_away = Attempt(
            family=attempt.family,
            mutators=(),
            owasp=(),
            atlas=(),
            messages=({"role": "system", "content": "x"}, {"role": "user", "content": said}),
            expect=Expectation(kind="token", value="bdfghk"),
        )
        assert not _is_conclusive(given_away), said


def test_it_is_drawn_anew_until_one_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Attempt] = []

    def third(attempt: Attempt) -> bool:
        seen.append(attempt)
        return len(seen) == 3

    monkeypatch.setattr(generator, "_is_conclusive", third)
    assert draw_attempts(1) == (seen[2],)
    assert len({each.id for each in seen}) == 3
    monkeypatch.setattr(generator, "_is_conclusive", lambda _: False)
    with pytest.raises(AssertionError, match="contains its evidence"):
        draw_attempts(1)


@pytest.mark.parametrize(("count", "families"), [(0, None), (-1, None), (4, ["nonsense"]), (4, [])])
def test_what_cannot_be_drawn_is_wrong_use(count: int, families: Any) -> None:
    with pytest.raises(UsageError, match="expected"):
        draw_attempts(count, families=families)


def test_a_refusal_is_no_success_of_any_attempt() -> None:
    for attempt in draw_attempts(EACH):
        assert score(attempt, Answer(text=REFUSAL))[0] in NOTHING_WON


def test_a_plain_campaign_has_thousands_of_attempts_in_many_classes_and_disguises() -> None:
    drawn = draw_attempts(2000, families=[name for name in FAMILIES if name not in HONEST])
    assert len({json.dumps([dict(m) for m in each.messages]) for each in drawn}) == 2000
    assert len({each.family for each in drawn}) >= 14
    assert len({name for each in drawn for name in each.mutators}) >= 18


@pytest.mark.parametrize("language", LANGUAGES)
def test_attempts_of_each_language_can_be_understood(language: Any) -> None:
    for attempt in draw_attempts(EACH, application=Application(language=language)):
        message = json.loads(vulnerable(body_of(attempt))[2])["choices"][0]["message"]
        if attempt.expect.kind != "tool":
            won = "answered" if attempt.control else "success"
            assert score(attempt, Answer(text=message["content"]))[0] == won, attempt
