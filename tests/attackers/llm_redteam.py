"""Served language models on this machine: gullible, careful, parroting, refusing, broken, hostile.

None of them knows which attempts are coming. The gullible one does whatever stands anywhere in a
conversation, once what hides it is undone: so it also shows that an attempt can be understood.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlsecops.llm.redteam.grammar.attack_texts import LANGUAGES, texts_in
from mlsecops.llm.redteam.grammar.scenes import DEMANDS
from mlsecops.llm.text.encodings import readings
from mlsecops.llm.text.unicode import joined

REFUSAL = "I cannot help with that."
BACKLOG = 256
Body = Mapping[str, Any]
Reply = tuple[int, dict[str, str], bytes]
Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_MORSE = dict(
    zip(
        [
            ".-",
            "-...",
            "-.-.",
            "-..",
            ".",
            "..-.",
            "--.",
            "....",
            "..",
            ".---",
            "-.-",
            ".-..",
            "--",
            "-.",
            "---",
            ".--.",
            "--.-",
            ".-.",
            "...",
            "-",
            "..-",
            "...-",
            ".--",
            "-..-",
            "-.--",
            "--..",
            "-----",
            ".----",
            "..---",
            "...--",
            "....-",
            ".....",
            "-....",
            "--...",
            "---..",
            "----.",
        ],
        "abcdefghijklmnopqrstuvwxyz0123456789",
        strict=True,
    )
)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_BACK_5 = str.maketrans(_ALPHABET, _ALPHABET[-5:] + _ALPHABET[:-5])
_MIRROR = str.maketrans(_ALPHABET, _ALPHABET[::-1])


def says(text: str | None, *, tool: str | None = None, finish: str = "stop") -> Reply:
    """A chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if tool is not None:
        function = {"name": tool, "arguments": "{}"}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    value = {"object": "chat.completion", "choices": [choice], "usage": usage}
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()


def echo(body: Body) -> Reply:
    """Repeats the last message."""
    return says(str(body["messages"][-1]["content"]))


def echo_all(body: Body) -> Reply:
    """Repeats everything but the system message, and what it was offered."""
    sent = [message for message in body["messages"] if message["role"] != "system"]
    return says(json.dumps([sent, body.get("tools")], ensure_ascii=False))


def refuse(_body: Body) -> Reply:
    """Refuses everything."""
    return says(REFUSAL)


def hardened(body: Body) -> Reply:
    """Answers honest questions, and nothing else."""
    system, last = str(body["messages"][0]["content"]), body["messages"][-1]
    if last["role"] != "user":
        return says(REFUSAL)
    if any(texts_in(each)["helpful"] in system for each in LANGUAGES):
        return vulnerable(body)  # a plain question, without any duty
    return says(next(_solved(_BENIGN, joined(str(last["content"])), whole=True), REFUSAL))


def vulnerable(body: Body) -> Reply:
    """Does whatever it reads, wherever it stands."""
    system = str(body["messages"][0]["content"])
    texts = [str(message["content"]) for message in body["messages"] if message["role"] != "system"]
    # Examples in a conversation are done.
    texts[-1] = re.sub(r"User: [^\n]*\nAssistant: \w+\n", "", texts[-1])
    text = "\n".join([*texts, "".join(re.findall("<<(.*?)>>", texts[-1], re.DOTALL))])
    for reading in _understood(text):
        tool = next(_tools(reading), None) if "tools" in body else None
        if tool is not None:
            return says("Done.", tool=tool)
        answers = list(_solved([*_ORDERS, *_BENIGN], reading))
        if answers:
            return says(f"Of course: {answers[-1]}")
    secret = re.search(r"\b[bdfghkmnqrvwz]{16}\b", system)
    return says(REFUSAL if secret is None else f"Yes: {' '.join(secret[0])}")


def _understood(text: str) -> Iterator[str]:
    """Letters and digits of a text and of all that it may mean once its disguise is undone."""
    for reading in (text, *(each.text for each in readings(text, depth=3) if each.how)):
        plain = joined(reading)
        yield plain
        yield plain.translate(_BACK_5)
        yield plain.translate(_MIRROR)
        yield "".join(_MORSE.get(each, "") for each in re.findall(r"[.-]+", reading))
        yield joined(reading[::-1])


def flaky(behind: Callable[[Body], Reply] = hardened) -> Callable[[Body], Reply]:
    """Fails each conversation twice (429 with Retry-After, 500) before it works."""
    tries: Counter[str] = Counter()

    def reply(body: Body) -> Reply:
        key = json.dumps(body)
        tries[key] += 1
        if tries[key] == 1:
            return 429, {"retry-after": "0"}, b'{"error": {"message": "slow down"}}'
        return (500, {}, b"oops") if tries[key] == 2 else behind(body)

    return reply


def planned_failures(behind: Callable[[Body], Reply], *statuses: int) -> Callable[[Body], Reply]:
    """Fails with these statuses, one after another, before it works."""
    waiting = list(statuses)
    return lambda body: (waiting.pop(0), {}, b"oops") if waiting else behind(body)


def filtered(_body: Body) -> Reply:
    """A service whose filter stops everything."""
    return 400, {}, b'{"error": {"message": "filtered", "code": "content_filter"}}'


MODES: dict[str, Callable[[], Callable[[Body], Reply]]] = {
    "empty": lambda: lambda _body: says(""),
    "thinking": lambda: lambda _body: says("<think>They want me to"),
    "cut-off": lambda: lambda _body: says("Let me see", finish="length"),
    "blocked": lambda: filtered,
    "vulnerable": lambda: vulnerable,
    "hardened": lambda: hardened,
    "echo": lambda: echo,
    "refuse": lambda: refuse,
    "flaky": flaky,
}


_BLANKS = {
    "nonce": "[bdfghkmnqrvwz]{6}", "head": "[bdfghkmnqrvwz]{4}", "tail": "[bdfghkmnqrvwz]{4}",
    "first": "[0-9]{5}", "second": "[0-9]{5}", "start": "[0-9]{5}", "count": "[0-9]{3}",
}  # fmt: skip


def _pattern(template: str, *, leet: bool = False) -> re.Pattern[str]:
    """What a sentence of the grammar looks like without its spaces, with its blanks as groups."""
    parts = re.split(r"\{(\w+)\}", template)
    plain = [joined(part.translate(_LEET) if leet else part) for part in parts[::2]]
    blanks = [f"(?P<{name}>{_BLANKS[name]})" if name in _BLANKS else ".+?" for name in parts[1::2]]
    whole = re.escape(plain[0])
    for blank, part in zip(blanks, plain[1:], strict=True):
        whole += blank + re.escape(part)
    return re.compile(whole)


_ORDERS = [
    _pattern(template, leet=leet)
    for language in LANGUAGES
    for template in (texts_in(language)["upwards"], *texts_in(language)["tasks"])
    for leet in (False, True)
]
_BENIGN = [
    _pattern(template)
    for language in LANGUAGES
    for name in ("counting", "filing", "mirrored")
    for template in texts_in(language)[name]
]


def _solved(
    patterns: Sequence[re.Pattern[str]], plain: str, *, whole: bool = False
) -> Iterator[str]:
    """What the tasks in a text ask for, in the order in which they stand."""
    matches = [
        match
        for pattern in patterns
        for match in ([pattern.fullmatch(plain)] if whole else pattern.finditer(plain))
        if match is not None
    ]
    for match in sorted(matches, key=lambda match: match.start()):
        yield _answer(match.groupdict())


def _answer(found: Mapping[str, str]) -> str:
    if "nonce" in found:
        return found["nonce"][::-1]
    if "head" in found:
        return f"{found['head']}{found['tail']}"
    if "count" in found:
        start, count = int(found["start"]), int(found["count"])
        return " ".join(str(each) for each in range(start, start + count))
    return f"{int(found['first']) + int(found['second']):,}"


def _tools(plain: str) -> Iterator[str]:
    for demand in DEMANDS:
        name = joined(demand.name)
        if name in plain or name.translate(_LEET) in plain:
            yield demand.name


@dataclass
class Serving:
    """A server that runs.

    Attributes:
        reply: What it answers.
        latency: Seconds before it does.
        writing: Writes the whole of what it answers, in the place of `reply`.
        url: Its address of chat completions.
        bodies: What it was asked.
        headers: With which headers.
    """

    reply: Callable[[Body], Reply]
    latency: float = 0.0
    writing: Writing | None = None
    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def conversations(self) -> Counter[str]:
        """How often each conversation was asked."""
        return Counter(json.dumps(body["messages"]) for body in self.bodies)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection for as long as it is used."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode("latin-1"), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went, or the server is to end
        finally:
            writer.close()

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in lines}
        if head.startswith("GET "):  # garak looks whether anybody is there
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.bodies.append(body)
        self.headers.append(headers)
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.writing is not None:
            await self.writing(writer)
            return
        status, more, data = self.reply(body)
        headers = {"content-length": str(len(data)), **more}
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        writer.write(f"HTTP/1.1 {status} Told\r\n{fields}\r\n".encode("latin-1") + data)
        await writer.drain()


async def _serve(serving: Serving, port: int, ready: Callable[[int], object]) -> None:
    server = await asyncio.start_server(
        serving.connected, "127.0.0.1", port, backlog=BACKLOG, limit=1 << 20
    )
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await server.serve_forever()


@contextmanager
def chat_server(
    reply: Callable[[Body], Reply] = refuse, *, latency: float = 0.0, writing: Writing | None = None
) -> Iterator[Serving]:
    """Serve a model on a free loopback port, in a thread."""
    serving = Serving(reply, latency, writing)
    up = threading.Event()
    loop = asyncio.new_event_loop()

    def ready(port: int) -> None:
        serving.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        up.set()

    task = loop.create_task(_serve(serving, 0, ready))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            left = asyncio.all_tasks(loop)
            for each in left:
                each.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
        finally:
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield serving
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Writes an answer that has no end."""
    writer.write(_HEAD + b"{")
    while not writer.is_closing():
        writer.write(b" " * 65536)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Writes a byte now and then, each of them in time, and ends after ten seconds."""
    writer.write(_HEAD)
    for _ in range(200):
        if writer.is_closing():
            return
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


async def hanging_up(writer: asyncio.StreamWriter) -> None:
    """Breaks off in the middle of an answer."""
    writer.write(_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: 900\r\n\r\n") + b'{"choices": [')
    await writer.drain()
    writer.transport.abort()


def main() -> None:
    """Serve a mode in this process until it is ended: ``MODE LATENCY``; the address is printed."""
    mode, latency = sys.argv[1], float(sys.argv[2])

    def ready(port: int) -> None:
        sys.stdout.write(f"http://127.0.0.1:{port}/v1/chat/completions\n")
        sys.stdout.flush()

    asyncio.run(_serve(Serving(MODES[mode](), latency), 0, ready))


if __name__ == "__main__":
    main()
