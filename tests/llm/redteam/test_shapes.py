"""Each API shape is asked and read as its service has it, whole and streamed, by every client."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.llm import ChatEndpoint, FuzzGate, draw_attempts, fuzz
from mlsecops.llm.redteam.budget import Usage
from tests.attackers import llm_shapes
from tests.attackers.llm_redteam import REFUSAL, Reply, chat_server
from tests.llm.redteam.test_endpoint import ask

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
WITH_TOOL = draw_attempts(1, families=["tool-misuse"])[0]


def place(url: str, shape: str) -> str:
    return url.replace("/v1/chat/completions", PATHS[shape])


@pytest.mark.parametrize("shape", PATHS)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_read_in_each_shape_and_reasoning_is_no_part_of_it(
    shape: str, *, streamed: bool
) -> None:
    reply = getattr(llm_shapes, f"{shape}_stream" if streamed else shape)(REFUSAL)
    with chat_server(lambda _: reply) as server:
        asked = ask(place(server.url, shape), stream=streamed, api_key="k-secret")
        headers, body = server.headers[0], server.bodies[0]
    assert asked.answer is not None
    assert asked.answer.text == REFUSAL
    if not (shape == "chat" and streamed):
        assert asked.usage == Usage(requests=1, prompt=100, answer=10)
    assert body.get("stream") == (True if streamed else None)
    key = headers.get("x-api-key") if shape == "messages" else headers["authorization"]
    assert key == ("k-secret" if shape == "messages" else "Bearer k-secret")


def test_tools_and_roles_are_written_as_each_shape_has_them() -> None:
    bodies = {}
    for shape in PATHS:
        reply = getattr(llm_shapes, shape)(REFUSAL)
        with chat_server(lambda _, reply=reply: reply) as server:
            ask(place(server.url, shape), attempt=WITH_TOOL)
            bodies[shape] = server.bodies[0]
    assert bodies["responses"]["max_output_tokens"] == 512
    assert [each.get("type", each.get("role")) for each in bodies["responses"]["input"]] == [
        "system", "user", "function_call", "function_call_output"
    ]  # fmt: skip
    assert {each["name"] for each in bodies["responses"]["tools"]} >= {"search"}
    assert bodies["messages"]["system"] == WITH_TOOL.messages[0]["content"]
    roles = [each["role"] for each in bodies["messages"]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert bodies["messages"]["messages"][1]["content"][0]["type"] == "tool_use"
    assert bodies["messages"]["messages"][2]["content"][0]["type"] == "tool_result"
    assert all("input_schema" in each for each in bodies["messages"]["tools"])


@pytest.mark.parametrize("shape", PATHS)
def test_a_stream_that_breaks_off_is_an_error(shape: str) -> None:
    options: dict[str, Any] = {"finish": None} if shape == "chat" else {"complete": False}
    reply = getattr(llm_shapes, f"{shape}_stream")(REFUSAL, **options)
    with chat_server(lambda _: reply) as server:
        asked = ask(place(server.url, shape), stream=True)
    assert (asked.answer, asked.reason) == (
        None, "cannot read the answer: its stream ended before the answer did"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "shape", "outcome"),
    [
        (llm_shapes.chat("", finish="content_filter"), "chat", "blocked"),
        (llm_shapes.chat("Let me", finish="length"), "chat", "cut-off"),
        (llm_shapes.chat_stream("", finish="content_filter"), "chat", "blocked"),
        (llm_shapes.responses("", status="incomplete", reason="content_filter"), "responses",
         "blocked"),
        (llm_shapes.responses("I", status="incomplete", reason="max_output_tokens"), "responses",
         "cut-off"),
        (llm_shapes.messages("", stop="refusal"), "messages", "blocked"),
        (llm_shapes.messages("I", stop="max_tokens"), "messages", "cut-off"),
        (llm_shapes.messages(""), "messages", "error"),
    ],
)  # fmt: skip
def test_how_an_answer_ended_is_an_outcome_and_never_a_pass(
    reply: Reply, shape: str, outcome: str
) -> None:
    with chat_server(lambda _: reply) as server:
        campaign = fuzz(ChatEndpoint(place(server.url, shape), model="m"), attempts=34)
    assert Counter(each.outcome for each in campaign.results) == {outcome: 34}
    assert FuzzGate().judge(campaign).verdict == "inconclusive"


FILTERS: list[tuple[int, Any]] = [
    (400, {"error": {"message": "The prompt was filtered", "code": "content_filter"}}),
    (500, {"error": {"message": "oops", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    (403, {"error": {"message": "Your input was flagged by moderation"}}),
    (400, {"error": {"message": "blocked by guardrail", "type": "invalid_request_error"}}),
]


@pytest.mark.parametrize(("status", "body"), FILTERS)
def test_a_service_that_filters_blocks_at_once(status: int, body: Any) -> None:
    with chat_server(lambda _: (status, {}, json.dumps(body).encode())) as server:
        asked = ask(server.url)
        assert len(server.bodies) == 1
    assert asked.answer is not None
    assert asked.answer.blocked


LASTING: list[tuple[int, Any]] = [
    (429, {"error": {"message": "quota", "code": "insufficient_quota"}}),
    (402, {"error": {"message": "pay"}}),
    (
        400,
        {"error": {"message": "Your credit balance is too low", "type": "invalid_request_error"}},
    ),
    (400, {"error": {"message": "Unsupported value: 'temperature'", "param": "temperature"}}),
    (422, {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]}),
    (400, {"object": "error", "message": "unknown parameter: foo", "code": 400}),
]


@pytest.mark.parametrize(("status", "body"), LASTING)
def test_what_no_further_request_changes_ends_the_run(status: int, body: Any) -> None:
    with chat_server(lambda _: (status, {}, json.dumps(body).encode())) as server:
        endpoint = ChatEndpoint(server.url, model="m")
        with pytest.raises(UsageError, match=f"answered {status}"):
            fuzz(endpoint, attempts=64, concurrency=1)
        assert len(server.bodies) <= 5


def test_a_busy_service_and_a_prompt_that_is_too_long_end_nothing() -> None:
    busy = (429, {"retry-after": "0"}, b'{"error": {"message": "quota of requests, retry"}}')
    long = {"error": {"message": "maximum context length", "code": "context_length_exceeded"}}
    for reply in (busy, (400, {}, json.dumps(long).encode())):
        with chat_server(lambda _, reply=reply: reply) as server:
            assert ask(server.url, retries=2).answer is None


@pytest.mark.parametrize("role", ["developer", "user"])
def test_a_model_without_a_system_role_gets_none(role: Any) -> None:
    with chat_server(lambda _: llm_shapes.chat(REFUSAL)) as server:
        ask(server.url, system_role=role)
    messages = server.bodies[0]["messages"]
    assert messages[0]["role"] == role
    assert "Answer in at most three sentences" in messages[0]["content"]


def test_headers_are_sent_and_their_values_are_kept_secret() -> None:
    said = llm_shapes.chat("the key is az-s3cret")
    with chat_server(lambda _: said) as server:
        asked = ask(server.url, headers={"api-key": "az-s3cret"})
        assert server.headers[0]["api-key"] == "az-s3cret"
    assert asked.answer is not None
    assert "s3cret" not in asked.answer.text
    for wrong in ({"a b": "x"}, {"a": "x\ny"}, {"a": ""}):
        with pytest.raises(UsageError):
            ChatEndpoint("http://127.0.0.1/", model="m", headers=wrong)


def openai_chat(url: str, *, stream: bool) -> Callable[..., Any]:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    return lambda messages: client.chat.completions.create(
        model="m", messages=messages, stream=stream
    )


def openai_responses(url: str, *, stream: bool) -> Callable[..., Any]:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    return lambda messages: client.responses.create(
        model="m", input=[{"role": x["role"], "content": x["content"]} for x in messages],
        stream=stream,
    )  # fmt: skip


def anthropic_messages(url: str, *, stream: bool) -> Callable[..., Any]:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="k", max_retries=0)

    async def model(messages: Any) -> Any:
        system, *rest = messages
        return await client.messages.create(
            model="m", max_tokens=64, system=system["content"], stream=stream,
            messages=[x for x in rest if x["role"] != "tool"],
        )  # fmt: skip

    return model


CLIENTS: dict[str, tuple[Callable[..., Callable[..., Any]], str]] = {
    "openai chat": (openai_chat, "chat"),
    "openai responses": (openai_responses, "responses"),
    "anthropic": (anthropic_messages, "messages"),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True])
def test_answers_and_streams_of_the_official_clients_are_read(client: str, *, stream: bool) -> None:
    make, shape = CLIENTS[client]
    reply = getattr(llm_shapes, f"{shape}_stream" if stream else shape)(REFUSAL)
    with chat_server(lambda _: reply) as server:
        model = make(server.url.removesuffix("/chat/completions"), stream=stream)
        campaign = fuzz(model, attempts=2, classes=["unbounded-output"])
    assert [(x.outcome, x.answer) for x in campaign.results] == [("resisted", REFUSAL)] * 2


def test_errors_of_the_official_clients_are_what_they_are_on_the_wire() -> None:
    for status, body, outcome in ((*FILTERS[0], "blocked"), (500, {"error": "oops"}, "error")):
        reply = (status, {"content-type": "application/json"}, json.dumps(body).encode())
        with chat_server(lambda _, reply=reply: reply) as server:
            model = openai_chat(server.url.removesuffix("/chat/completions"), stream=False)
            campaign = fuzz(model, attempts=4, classes=["instruction-override"])
        assert {each.outcome for each in campaign.results} == {outcome}
    status, body = LASTING[0]
    reply = (status, {"content-type": "application/json"}, json.dumps(body).encode())
    with chat_server(lambda _: reply) as server:
        model = openai_chat(server.url.removesuffix("/chat/completions"), stream=False)
        with pytest.raises(UsageError, match="429: quota"):
            fuzz(model, attempts=64, concurrency=1)
        assert len(server.bodies) <= 5
