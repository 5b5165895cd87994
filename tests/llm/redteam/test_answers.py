"""Answers of servers, whole, malformed and hostile: each is read, or said not to be one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.llm.redteam.answers import Answer, MalformedAnswer, ToolRequest, completion, message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "tool_calls", "function", "name", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_value_is_an_answer_or_unreadable(value: Any) -> None:
    for read in (completion, message):
        try:
            answer = read(value)
        except MalformedAnswer:
            continue
        assert isinstance(answer.text, str)
        assert all(isinstance(call.name, str) for call in answer.tool_calls)


def choice(**message_: Any) -> dict[str, Any]:
    return {"choices": [{"message": message_, "finish_reason": "stop"}]}


def test_text_parts_refusals_and_tool_calls_are_read() -> None:
    assert completion(choice(content="hi")) == Answer(text="hi")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert completion(choice(content=parts)).text == "a\nb"
    assert completion(choice(content=None, refusal="no")).text == "no"
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    answer = completion(choice(content=None, tool_calls=[call]))
    assert answer.tool_calls == (ToolRequest(name="f", arguments='{"x": 1}'),)


def test_an_answer_that_hit_its_limit_is_cut_off() -> None:
    cut = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    assert completion(cut) == Answer(text="", cut_off=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"text": "old"}]},
        choice(),
        choice(content=None),
        choice(content=7),
        choice(content=[{"type": "image"}]),
        choice(content="", tool_calls=7),
        choice(content="", tool_calls=[{"function": {"name": 7}}]),
    ],
)
def test_what_says_nothing_is_unreadable(value: Any) -> None:
    with pytest.raises(MalformedAnswer):
        completion(value)
