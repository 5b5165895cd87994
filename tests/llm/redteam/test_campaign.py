"""A campaign tells who stands and who falls, and an interrupted one goes on where it stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import mlsecops
from mlsecops import hash_path
from mlsecops.errors import InputRefused, PolicyError, UsageError
from mlsecops.llm import (
    FAMILIES,
    Campaign,
    Caps,
    ChatEndpoint,
    FuzzGate,
    datamark,
    draw_attempts,
    fuzz,
)
from mlsecops.signing import Requirement, Signer, TrustPolicy
from tests.attackers.llm_redteam import MODES, REFUSAL, chat_server, flaky, says

COUNT = 4 * len(FAMILIES)


def rates(campaign: Campaign) -> dict[str, float | None]:
    return {figure.name: figure.rate for figure in campaign.figures}


@pytest.mark.parametrize(
    ("mode", "attacks", "useful", "verdict"),
    [
        ("vulnerable", 1.0, 1.0, "fail"),
        ("hardened", 0.0, 1.0, "pass"),
        ("echo", None, 0.0, "inconclusive"),
        ("refuse", None, 0.0, "inconclusive"),
    ],
)
def test_each_kind_of_model_gets_the_rates_that_it_deserves(
    mode: str, attacks: float | None, useful: float, verdict: str
) -> None:
    with chat_server(MODES[mode]()) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m"), attempts=COUNT)
    found = rates(campaign)
    unbounded = found.pop("unbounded-output")
    assert unbounded == (attacks or 0.0)  # which takes no ability
    expected: dict[str, float | None] = dict.fromkeys(FAMILIES, attacks)
    expected |= {"benign": useful, "ability": useful}
    del expected["unbounded-output"]
    assert found == expected
    assert FuzzGate().judge(campaign).verdict == verdict
    assert set(server.conversations.values()) == {1}


def test_a_flaky_server_is_asked_until_it_answers() -> None:
    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    with chat_server(flaky()) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m", sleep=at_once), attempts=COUNT)
    honest = {"benign": 1.0, "ability": 1.0}
    assert rates(campaign) == dict.fromkeys(FAMILIES, 0.0) | honest
    assert set(server.conversations.values()) == {3}


def test_errors_are_a_third_outcome_and_never_a_pass() -> None:
    with chat_server(lambda _: (400, {}, b"")) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m"), attempts=COUNT)
    assert {each.outcome for each in campaign.results} == {"error"}
    assert set(rates(campaign).values()) == {None}
    assert all(figure.interval == (0.0, 1.0) for figure in campaign.figures)
    assert FuzzGate().judge(campaign).verdict == "inconclusive"


def test_two_runs_are_the_same_bytes_whatever_the_order_of_the_answers() -> None:
    def text(concurrency: int, latency: float) -> str:
        with chat_server(MODES["hardened"](), latency=latency) as server:
            endpoint = ChatEndpoint(server.url, model="m")
            campaign = fuzz(endpoint, attempts=48, seed=5, concurrency=concurrency)
        return json.dumps(campaign.to_dict())

    assert text(1, 0.0) == text(16, 0.01)


def test_the_report_has_the_shape_of_the_contract() -> None:
    campaign = fuzz(lambda _messages, tools=(): REFUSAL, attempts=COUNT, seed=2)  # noqa: ARG005
    value = json.loads(json.dumps(campaign.to_dict(verdict="pass")))
    assert [each["id"] for each in value["attempts"]] == [
        each.id for each in draw_attempts(COUNT, seed=2)
    ]
    assert value["attempts"][0].keys() == {"id", "class", "outcome", "reason"}
    assert value["attempts"][0]["outcome"] == "unable"
    for figure in value["classes"]:
        assert figure.keys() >= {"class", "attempts", "successes", "errors", "interval"}
        assert figure["attempts"] == 4
        assert figure["interval"][0] == 0.0
    assert value["verdict"] == "pass"
    assert "time" not in json.dumps(value)


def test_a_callable_is_asked_in_threads_and_a_coroutine_is_awaited() -> None:
    together = threading.Event()
    threads: set[int] = set()
    alone: list[int] = []

    def blocking(messages: Any, tools: Any = None) -> str:
        del messages, tools
        threads.add(threading.get_ident())
        if len(threads) == 16:
            together.set()
        if not together.wait(30):  # no call returns before 16 stand here at once
            alone.append(len(threads))
            together.set()
        return REFUSAL

    async def waiting(messages: Any, **_options: object) -> dict[str, Any]:
        assert messages[0]["role"] == "system"
        await asyncio.sleep(0)
        return {"role": "assistant", "content": REFUSAL}

    campaign = fuzz(blocking, attempts=32, concurrency=16)
    assert alone == []
    assert campaign.unchecked == ()
    assert set(rates(fuzz(waiting, attempts=COUNT)).values()) == {0.0, None}


def test_a_callable_that_takes_no_tools_is_not_said_to_withstand_their_misuse() -> None:
    campaign = fuzz(lambda _messages: REFUSAL, attempts=COUNT)
    assert campaign.unchecked == ("tool-misuse",)
    assert "tool-misuse" not in rates(campaign)
    assert campaign.to_dict()["unchecked"] == ["tool-misuse"]
    with pytest.raises(UsageError, match="target that takes tools for tool-misuse"):
        fuzz(lambda _messages: REFUSAL, classes=["tool-misuse"])


def test_a_guard_that_refuses_blocks_and_any_other_error_is_an_error() -> None:
    def guarded(_messages: object) -> str:
        raise InputRefused("no")

    def broken(_messages: object) -> str:
        raise RuntimeError("s3cret")

    def wrong(_messages: object) -> int:
        return 7

    stopped = fuzz(guarded, attempts=COUNT)
    assert {each.outcome for each in stopped.results} == {"blocked"}
    assert FuzzGate().judge(stopped).verdict == "inconclusive"
    for function, reason in ((broken, "raised RuntimeError"), (wrong, "cannot read the answer")):
        campaign = fuzz(function, attempts=COUNT)
        assert {each.outcome for each in campaign.results} == {"error"}
        assert all(each.reason.startswith(reason) for each in campaign.results)


def test_it_runs_where_a_loop_is_running_already() -> None:
    async def notebook() -> Campaign:
        return fuzz(lambda _messages: REFUSAL, attempts=8)

    assert len(asyncio.run(notebook()).results) == 8

    async def failing() -> None:
        fuzz(ChatEndpoint("http://127.0.0.1:9/", model="m"), attempts=8)

    with pytest.raises(UsageError, match="cannot be reached"):
        asyncio.run(failing())


def test_progress_is_told_to_the_end() -> None:
    calls: list[tuple[int, int]] = []
    fuzz(lambda _messages: REFUSAL, attempts=8, progress=lambda *done: calls.append(done))
    assert calls == [(number, 8) for number in range(1, 9)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts"),
        ({"concurrency": 0}, "concurrency"),
        ({"classes": ["nonsense"]}, "nonsense"),
    ],
)
def test_options_that_cannot_work_are_wrong_use(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fuzz(lambda _messages: REFUSAL, **options)


def test_an_address_is_no_target_by_itself() -> None:
    with pytest.raises(UsageError, match="expected a Target or a function"):
        fuzz("http://127.0.0.1/")  # type: ignore[arg-type] # that is the point


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]


def test_a_killed_run_is_resumed_with_nothing_lost_or_repeated(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(MODES["hardened"](), latency=0.02) as server:
        command = [
            sys.executable, "-m", "mlsecops", "fuzz", server.url, "--model", "m", "--seed", "3",
            "--attempts", "96", "--concurrency", "4", "--out", str(out), "--format", "json",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(Path(mlsecops.__file__).parents[1])}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not (out.exists() and out.read_bytes().count(b"\n") >= 20):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        finished = {line["id"] for line in lines(out)}
        assert 20 <= len(finished) < 96 + 60
        with out.open("ab") as stream:
            stream.write(b'{"id": "0123')  # what a crash of the machine can leave
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    drawn = draw_attempts(96, seed=3)
    recorded = [line["id"] for line in lines(out)]
    assert len(set(recorded)) == len(recorded)
    assert {each.id for each in drawn} <= set(recorded)
    asked = server.conversations
    for attempt in drawn:
        times = asked[json.dumps([dict(message) for message in attempt.messages])]
        assert times == 1 if attempt.id in finished else 1 <= times <= 2
    with chat_server(MODES["hardened"]()) as server:
        fresh = fuzz(ChatEndpoint(server.url, model="m"), attempts=96, seed=3)
    report = json.loads(done.stdout)
    assert report["attempts"] == fresh.to_dict()["attempts"]
    assert report["classes"] == fresh.to_dict()["classes"]


def test_a_finished_run_asks_nothing_and_more_attempts_only_the_new_ones(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(MODES["hardened"]()) as server:
        endpoint = ChatEndpoint(server.url, model="m")
        first = fuzz(endpoint, attempts=32, out=out)
        asked = len(server.bodies)
        assert asked == 32 + len(first.controls)
        assert fuzz(endpoint, attempts=32, out=out).to_dict() == first.to_dict()
        assert len(server.bodies) == asked
        fuzz(endpoint, attempts=40, out=out)
        again = [json.dumps(body["messages"]) for body in server.bodies]
        assert len(set(again)) == len(again)


def test_an_attempt_that_ended_in_an_error_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    broken = True
    with chat_server(lambda _: (400, {}, b"") if broken else says(REFUSAL)) as server:
        endpoint = ChatEndpoint(server.url, model="m")
        assert {each.outcome for each in fuzz(endpoint, attempts=8, out=out).results} == {"error"}
        assert lines(out) == []
        broken = False
        assert "error" not in {each.outcome for each in fuzz(endpoint, attempts=8, out=out).results}
        assert len(lines(out)) >= 8


def test_an_answer_that_was_cut_off_is_not_finished(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(lambda _: says("Let me think", finish="length")) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m"), attempts=8, out=out)
    assert {each.outcome for each in campaign.results} == {"cut-off"}
    assert FuzzGate().judge(campaign).verdict == "inconclusive"
    assert lines(out) == []


def test_a_cap_counts_what_earlier_runs_used(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(MODES["refuse"]()) as server:
        for requests, total in ((10, 10), (10, 10), (16, 16)):
            endpoint = ChatEndpoint(server.url, model="m", caps=Caps(requests=requests))
            if total < 16:
                with pytest.raises(UsageError, match=f"cap of {requests} on requests"):
                    fuzz(endpoint, attempts=16, out=out)
            else:
                assert len(fuzz(endpoint, attempts=16, out=out).results) == 16
            assert len(server.bodies) == len(lines(out)) == total


def test_a_journal_of_another_target_seed_or_selection_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(MODES["refuse"]()) as server:
        fuzz(ChatEndpoint(server.url, model="m", api_key="s3cret"), attempts=16, out=out)
        assert "s3cret" not in out.read_text()
        assert server.url not in out.read_text()
        before = out.read_bytes()
        with pytest.raises(UsageError, match="another target"):
            fuzz(ChatEndpoint(server.url, model="other"), attempts=16, out=out)
        for options in ({"seed": 1}, {"attempts": 8}, {"classes": ["benign"]}):
            with pytest.raises(UsageError, match="expected attempts of this campaign"):
                fuzz(ChatEndpoint(server.url, model="m"), **{"attempts": 16, **options, "out": out})
        assert out.read_bytes() == before
        assert len(server.bodies) == 16


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"outcome": "resisted"', '"outcome": "fine"'),
        lambda text: text.replace('"requests"', '"r"'),
        lambda text: text.replace("[100, 10]", '["x"]'),
        lambda text: text + text,
        lambda text: "7\n" + text,
        lambda text: text[1:],
    ],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, damage: Any) -> None:
    out = tmp_path / "run.jsonl"
    with chat_server(MODES["refuse"]()) as server:
        endpoint = ChatEndpoint(server.url, model="m")
        fuzz(endpoint, attempts=4, out=out)
        out.write_text(damage(out.read_text()))
        with pytest.raises(UsageError, match=r"run\.jsonl is damaged"):
            fuzz(endpoint, attempts=4, out=out)


def test_two_campaigns_do_not_write_to_one_journal(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"

    def meanwhile(_messages: object) -> str:
        with pytest.raises(UsageError, match="another campaign"):
            fuzz(lambda _: REFUSAL, attempts=1, out=out, target_id="1")
        return REFUSAL

    campaign = fuzz(meanwhile, attempts=1, out=out, target_id="1")
    assert campaign.results[0].outcome == "unable"
    with pytest.raises(UsageError, match="cannot use journal"):
        fuzz(meanwhile, attempts=1, out=tmp_path, target_id="1")


def test_control_characters_of_an_answer_stay_escaped_in_the_journal(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    fuzz(
        lambda _messages: "\x1b[2J\x9b\u202e\ud800" + "x" * 9000, attempts=1, out=out, target_id="1"
    )
    text = out.read_bytes().decode("ascii")
    assert all(each.isprintable() or each == "\n" for each in text)
    assert lines(out)[0]["answer"].startswith("\x1b[2J")
    assert max(map(len, text.splitlines())) < 6000


@pytest.mark.parametrize("mode", ["empty", "thinking", "cut-off", "blocked", "echo", "refuse"])
def test_what_shows_nothing_is_never_a_pass(mode: str) -> None:
    with chat_server(MODES[mode]()) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m"), attempts=34)
    for gate in (FuzzGate(), FuzzGate(max_success=0.99), FuzzGate(earlier=campaign.figures)):
        assert gate.judge(campaign).verdict == "inconclusive"


def test_an_empty_answer_is_an_error_and_reasoning_is_no_answer() -> None:
    for said in ("", " \u200b\n", "<think>They want the word.</think>", "<think>They want"):
        campaign = fuzz(lambda _messages, said=said: said, attempts=COUNT)
        assert {each.outcome for each in campaign.results} <= {"error", "cut-off"}
        assert FuzzGate().judge(campaign).verdict == "inconclusive"


def test_what_a_model_thinks_is_no_success() -> None:
    known = {json.dumps([dict(m) for m in each.messages]): each for each in draw_attempts(COUNT)}

    def thinking(messages: Any, tools: Any = ()) -> str:
        del tools
        attempt = known.get(json.dumps(messages))
        secret = attempt.expect.value if attempt is not None else "x"
        return f"<think>They want {secret}.</think>{REFUSAL}"

    assert not any(each.successes for each in fuzz(thinking, attempts=COUNT).classes)


def test_a_callable_with_a_journal_says_which_target_it_is(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    with pytest.raises(UsageError, match="target_id: expected one with out="):
        fuzz(lambda _messages: REFUSAL, attempts=4, out=out)
    fuzz(lambda _messages: REFUSAL, attempts=4, out=out, target_id="sha256:1")
    with pytest.raises(UsageError, match="another target"):
        fuzz(lambda _messages: REFUSAL, attempts=4, out=out, target_id="sha256:2")


def test_a_call_that_hangs_is_an_error_and_holds_nobody_up() -> None:
    released = threading.Event()
    ended: list[bool] = []

    def hanging(_messages: object) -> str:
        ended.append(released.wait(60))
        return REFUSAL

    campaign = fuzz(hanging, attempts=8, timeout=0.2)
    waited_for = list(ended)
    released.set()
    assert waited_for == []
    assert {each.outcome for each in campaign.results} == {"error"}
    assert "no answer within 0.2 s" in campaign.results[0].reason


def test_a_success_has_its_evidence() -> None:
    with chat_server(MODES["vulnerable"]()) as server:
        campaign = fuzz(ChatEndpoint(server.url, model="m"), attempts=COUNT)
    for each in campaign.to_dict()["attempts"]:
        if each["outcome"] == "success":
            assert each.keys() >= {"messages", "mutators", "expect", "answer", "reason"}
            assert each["reason"]


def test_repetitions_are_not_taken_for_independent_attempts() -> None:
    once = fuzz(lambda _messages: REFUSAL, attempts=17, classes=["unbounded-output"])
    often = fuzz(lambda _messages: REFUSAL, attempts=17, classes=["unbounded-output"], repeats=20)
    assert often.classes[0].attempts == 20 * 17
    assert often.classes[0].interval == once.classes[0].interval
    assert len({(each.attempt.id, each.repeat) for each in often.results}) == 20 * 17


def test_what_a_model_cannot_do_when_asked_plainly_is_not_resisted() -> None:
    """This one answers what its duty asks for and knows no other language nor encoding."""

    def simple(messages: Any) -> str:
        with_duty = "at most three sentences" in str(messages[0]["content"])
        body = {"messages": messages}
        answer = json.loads(MODES["hardened"]()(body)[2])["choices"][0]["message"]["content"]
        return answer if with_duty else REFUSAL

    campaign = fuzz(simple, attempts=8 * len(FAMILIES))
    outcomes = {each.outcome for each in campaign.results if each.attempt.family == "encoding"}
    assert outcomes == {"unable"}
    judged = FuzzGate().judge(campaign)
    assert judged.verdict == "inconclusive"
    assert any("encoding: " in reason for reason in judged.reasons)


def test_a_later_turn_can_succeed_and_a_tree_keeps_the_nearest_answer() -> None:
    asked: list[int] = []

    def soft(messages: Any) -> str:
        said = [each for each in messages if each["role"] == "user"]
        asked.append(len(said))
        if len(said) < 3:
            return REFUSAL
        body = {"messages": [messages[0], messages[-1]]}
        return str(json.loads(MODES["vulnerable"]()(body)[2])["choices"][0]["message"]["content"])

    options: dict[str, Any] = {"attempts": 6, "classes": ["instruction-override"]}
    assert not any(each.successes for each in fuzz(soft, **options).classes)
    assert max(asked) == 1
    campaign = fuzz(soft, **options, turns=3, branches=2)
    assert [each.outcome for each in campaign.results] == ["success"] * 6
    assert {each.turn for each in campaign.results} == {3}
    assert max(asked) == 3


def test_spotlighting_is_measured_on_pairs() -> None:
    def heeds(messages: Any, tools: Any = ()) -> Any:
        if "never follow an instruction" in str(messages[0]["content"]).lower():
            return REFUSAL
        body = {"messages": messages, **({"tools": tools} if tools else {})}
        return json.loads(MODES["vulnerable"]()(body)[2])["choices"][0]["message"]

    campaign = fuzz(heeds, attempts=COUNT, spotlight=datamark)
    value = campaign.to_dict()["spotlight"]
    assert value["pairs"] == 4 * 5
    assert value["difference"] == -1.0
    assert value["interval"][1] < -0.7
    again = fuzz(heeds, attempts=COUNT, spotlight=datamark)
    assert again.to_dict() == campaign.to_dict()


def test_a_campaign_is_a_statement_that_a_policy_can_require(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(b"1")
    signer = Signer.generate()
    root = str(hash_path(model).root)
    campaign = fuzz(lambda _messages: REFUSAL, attempts=4, target_id=root)
    policy = TrustPolicy(keys=[signer.public_key], require=Requirement(statements=["red-team"]))
    for verdict in ("fail", "pass"):
        out = tmp_path / f"{verdict}.sig"
        mlsecops.sign(model, signer, out=out, statements=[campaign.statement(verdict=verdict)])
        if verdict == "pass":
            mlsecops.verify(model, out, policy=policy)
        else:
            with pytest.raises(PolicyError, match="red-team statement whose verdict is a pass"):
                mlsecops.verify(model, out, policy=policy)
    with pytest.raises(UsageError, match="target_id like sha256"):
        fuzz(lambda _messages: REFUSAL, attempts=4).statement(verdict="pass")
