"""A served model is asked with care, and whatever it sends does no harm."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlsecops.errors import UsageError
from mlsecops.llm import Attempt, Caps, ChatEndpoint, draw_attempts
from mlsecops.llm.redteam.budget import Ledger, Usage
from mlsecops.llm.redteam.target import Asked
from tests.attackers.llm_redteam import (
    Reply,
    Serving,
    chat_server,
    dripping,
    endless,
    hanging_up,
    refuse,
    says,
)

ATTEMPT = draw_attempts(1)[0]
KEY = "sk-s3cret-value"


def planned(*replies: Reply) -> Callable[[Any], Reply]:
    """Gives these replies one after another, and then works."""
    waiting = list(replies)
    return lambda body: waiting.pop(0) if waiting else refuse(body)


class Waits:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def ask(
    url: str, *, attempt: Attempt = ATTEMPT, ledger: Ledger | None = None, **options: Any
) -> Asked:
    waits: dict[str, Any] = {"sleep": Waits(), "jitter": lambda: 0.0}
    endpoint = ChatEndpoint(url, model="m", **{**waits, **options})

    async def once() -> Asked:
        book = ledger or Ledger(endpoint.caps)
        async with endpoint.channel(book, concurrency=1) as channel:
            return await channel.ask(attempt)

    return asyncio.run(once())


def test_a_question_is_asked_in_the_form_of_chat_completions() -> None:
    with chat_server(refuse) as server:
        asked = ask(server.url, api_key=KEY, body={"top_p": 0.5, "temperature": None})
    assert asked.answer is not None
    assert asked.answer.text == "I cannot help with that."
    assert asked.usage == Usage(requests=1, prompt=100, answer=10)
    assert server.bodies == [
        {
            "model": "m",
            "messages": [dict(each) for each in ATTEMPT.messages],
            "max_tokens": 512,
            "top_p": 0.5,
        }
    ]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_an_address_may_be_that_of_the_server_or_of_its_completions(path: str) -> None:
    endpoint = ChatEndpoint(f"http://127.0.0.1:8000{path}", model="m")
    assert endpoint.url == "http://127.0.0.1:8000/v1/chat/completions"
    other = ChatEndpoint("https://host.example/openai/v2?version=3", model="m")
    assert other.url == "https://host.example/openai/v2/chat/completions?version=3"


def test_a_passing_failure_is_tried_again_no_sooner_than_was_asked() -> None:
    waits = Waits()
    plan = planned((429, {"retry-after": "7"}, b""), (500, {}, b"oops"), (503, {}, b""))
    with chat_server(plan) as server:
        asked = ask(server.url, sleep=waits, jitter=lambda: 0.5)
    assert asked.answer is not None
    assert asked.usage.requests == len(server.bodies) == 4
    assert waits.seconds == [7 + 0.25 * 0.75, 0.5 * 0.75, 1.0 * 0.75]


def test_tries_have_an_end_and_the_failure_is_an_error() -> None:
    with chat_server(lambda _: (500, {}, b"oops")) as server:
        asked = ask(server.url, retries=2)
    assert asked.answer is None
    assert asked.reason == "answered 500 after 3 tries"
    assert asked.usage.requests == len(server.bodies) == 3


def test_nobody_waits_for_a_server_that_asks_for_a_day() -> None:
    waits = Waits()
    with chat_server(planned((429, {"retry-after": "86400"}, b""))) as server:
        asked = ask(server.url, sleep=waits)
    assert asked.reason == "answered 429 and asks to wait 86400 s"
    assert waits.seconds == []


@pytest.mark.parametrize("text", ["soon", "-1", "1e9", "\xb2", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_wait_that_is_no_number_is_not_obeyed(text: str) -> None:
    waits = Waits()
    with chat_server(planned((503, {"retry-after": text}, b""))) as server:
        assert ask(server.url, sleep=waits).answer is not None
    assert waits.seconds == [0.125]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((200, {}, b"<html>"), "cannot read the answer: it is no JSON"),
        ((200, {}, b"\xff\xfe"), "cannot read the answer: it is no JSON"),
        ((200, {}, b"[" * 50_000), "cannot read the answer: it is no JSON"),
        ((200, {}, b'{"choices": []}'), "cannot read the answer: it has no choices"),
        (says(None), "cannot read the answer: its message has no content"),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "answered 302"),
        ((400, {}, b'{"error": {"message": "no such option"}}'), "answered 400 (no such option)"),
        ((400, {}, b'{"error": "bad"}'), "answered 400 (bad)"),
        ((200, {"content-encoding": "gzip"}, gzip.compress(b"{}")), "compressed its answer"),
        ((200, {}, b" " * (2 << 20)), "answered more than 65536 bytes"),
    ],
)
def test_an_answer_that_is_none_is_an_error(reply: Reply, reason: str) -> None:
    with chat_server(planned(reply)) as server:
        asked = ask(server.url)
    assert asked.answer is None
    assert asked.reason.startswith(reason)
    assert len(server.bodies) == 1


def test_what_has_no_end_is_left() -> None:
    with chat_server(writing=endless) as server:
        assert ask(server.url).reason == "answered more than 65536 bytes"
    with (  # who waits for the end of what drips reads an answer that is no JSON
        chat_server(writing=dripping) as server,
        pytest.raises(UsageError, match=r"no answer within 0\.3 s"),
    ):
        ask(server.url, timeout=0.3)
    with (
        chat_server(writing=hanging_up) as server,
        pytest.raises(UsageError, match="cannot be reached: expected an answer, got R"),
    ):
        ask(server.url)


def test_a_server_s_words_cannot_steer_a_terminal_and_hold_no_key() -> None:
    said = json.dumps({"error": {"message": f"\x1b[2J\x9b\u202e{KEY} " + "x" * 1000}}).encode()
    with chat_server(planned((400, {}, said), says(f"your key is {KEY}"))) as server:
        reason = ask(server.url, api_key=KEY).reason
        assert reason.isprintable()
        assert len(reason) < 200
        assert KEY not in reason
        answer = ask(server.url, api_key=KEY).answer
        assert answer is not None
        assert KEY not in answer.text


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_wrong_key_or_address_ends_it_at_once(status: int) -> None:
    with (
        chat_server(lambda _: (status, {}, b'{"error": {"message": "who?"}}')) as server,
        pytest.raises(UsageError, match=rf"answered {status} \(who\?\): check the address"),
    ):
        ask(server.url)
    assert len(server.bodies) == 1


def test_a_refused_request_after_others_worked_is_an_error_and_no_end() -> None:
    with chat_server(planned(says("hi"), (403, {}, b""))) as server:
        endpoint = ChatEndpoint(server.url, model="m")

        async def twice() -> list[Asked]:
            async with endpoint.channel(Ledger(Caps()), concurrency=1) as channel:
                return [await channel.ask(ATTEMPT), await channel.ask(ATTEMPT)]

        first, second = asyncio.run(twice())
    assert first.answer is not None
    assert (second.answer, second.reason) == (None, "answered 403")


def test_a_target_that_is_not_there_is_named_without_its_secrets() -> None:
    with chat_server() as server:
        gone = server.url
    secret = gone.replace("http://", "http://user:s3cret@") + "?token=s3cret"
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:\d+/v1.* cannot be reached") as caught:
        ask(secret)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://127.0.0.1/", {}),
        ("http://127.0.0.1:port/", {}),
        ("http://[::1/", {}),
        ("http://model.example/v1", {}),
        ("http://127.0.0.1/", {"api_key": "s3cret\n"}),
        ("http://127.0.0.1/", {"api_key": "s3cr\u00e9t"}),
        ("http://127.0.0.1/", {"api_key": ""}),
        ("http://127.0.0.1/", {"answer_tokens": 0}),
        ("http://127.0.0.1/", {"retries": -1}),
        ("http://127.0.0.1/", {"timeout": 0}),
        ("http://127.0.0.1/", {"timeout": float("nan")}),
    ],
)
def test_an_endpoint_that_cannot_work_is_wrong_use(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        ChatEndpoint(url, model="m", **options)
    assert "s3cr" not in str(caught.value)


def test_https_and_named_danger_are_allowed() -> None:
    assert (
        ChatEndpoint("https://model.example/v1?k=1", model="m").name == "https://model.example/v1"
    )
    assert ChatEndpoint("http://model.example/", model="m", unsafe_plain_http=True).name
    assert ChatEndpoint("http://[::1]:8000/v1", model="m").name == "http://[::1]:8000/v1"


def spent(server: Serving, caps: Caps, *, times: int) -> str:
    """What is said when so many questions at once are too many."""
    endpoint = ChatEndpoint(server.url, model="m", caps=caps)
    ledger = Ledger(caps)

    async def all_at_once() -> None:
        async with endpoint.channel(ledger, concurrency=times) as channel:
            await asyncio.gather(*(channel.ask(ATTEMPT) for _ in range(times)))

    with pytest.raises(UsageError, match="is reached") as caught:
        asyncio.run(all_at_once())
    return str(caught.value)


def test_caps_hold_with_any_number_of_questions_at_once() -> None:
    with chat_server(latency=0.05) as server:
        assert "cap of 3 on requests" in spent(server, Caps(requests=3), times=9)
        assert len(server.bodies) <= 3
    size = len(ChatEndpoint("http://127.0.0.1/", model="m").request(ATTEMPT)) + 512
    with chat_server(latency=0.05) as server:
        assert "on tokens" in spent(server, Caps(tokens=2 * size + 1), times=9)
        assert len(server.bodies) <= 2
    cost = Caps(cost=2.5 * size / 1e6, prompt_price=1.0, answer_price=1.0)
    with chat_server(latency=0.05) as server:
        assert "on cost" in spent(server, cost, times=9)
        assert len(server.bodies) <= 2


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": 0}, {"prompt_tokens": "7"}]
)
def test_a_server_that_does_not_count_is_charged_the_most(usage: Any) -> None:
    message = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    with chat_server(lambda _: (200, {}, json.dumps(message).encode())) as server:
        asked = ask(server.url)
    assert asked.usage.prompt > 500
    assert asked.usage.answer == 512


@pytest.mark.parametrize(
    "caps", [{"requests": 0}, {"tokens": -1}, {"cost": 1.0}, {"prompt_price": -1.0}]
)
def test_caps_that_make_no_sense_are_wrong_use(caps: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Caps(**caps)
