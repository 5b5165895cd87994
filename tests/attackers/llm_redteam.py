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

from mlsecops.llm.redteam.attack_texts import TEXTS, TEXTS_BY_NAME
from mlsecops.llm.text.encodings import readings
from mlsecops.llm.text.unicode import fold

REFUSAL = "I cannot help with that."
BACKLOG = 256
Body = Mapping[str, Any]
Reply = tuple[int, dict[str, str], bytes]
Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
_LEET = str.maketrans("aeiost", "431057")


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
    """Answers the questions of its duty, and nothing else."""
    last = body["messages"][-1]
    text = last["content"] if last["role"] == "user" else ""
    return says(next(_solved(_BENIGN, text, whole=True), REFUSAL))


def vulnerable(body: Body) -> Reply:
    """Does whatever it reads, wherever it stands."""
    texts = [str(message["content"]) for message in body["messages"] if message["role"] != "system"]
    texts[-1] = re.sub(r"User: [^\n]*\nAssistant: \w+\n", "", texts[-1])  # examples are done
    text = "\n".join([*texts, "".join(re.findall("<<(.*?)>>", texts[-1], re.DOTALL))])
    for reading in (text, *(each.text for each in readings(text, depth=2) if each.how)):
        tool = next(_tools(reading), None) if "tools" in body else None
        if tool is not None:
            return says("Done.", tool=tool)
        answers = list(_solved([*_ORDERS, *_BENIGN], reading))
        if answers:
            return says(f"Of course: {answers[-1]}")
    secret = re.search(r"reference is (\w+)\.", str(body["messages"][0]["content"]))
    return says(REFUSAL if secret is None else f"Yes: {' '.join(secret[1])}")


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


MODES: dict[str, Callable[[], Callable[[Body], Reply]]] = {
    "vulnerable": lambda: vulnerable,
    "hardened": lambda: hardened,
    "echo": lambda: echo,
    "refuse": lambda: refuse,
    "flaky": flaky,
}


def _pattern(template: str, *, leet: bool = False) -> re.Pattern[str]:
    """What a sentence of the grammar looks like, folded, with its blanks as groups."""
    parts = re.split(r"\{(\w+)\}", template)
    plain = [fold(part).translate(_LEET) if leet else fold(part) for part in parts[::2]]
    blanks = [".+?" if name in {"things", "code"} else f"(?P<{name}>\\w+)" for name in parts[1::2]]
    seen: set[str] = set()
    whole = re.escape(plain[0])
    for blank, part in zip(blanks, plain[1:], strict=True):
        whole += (".+?" if blank in seen else blank) + re.escape(part)
        seen.add(blank)
    return re.compile(whole, re.DOTALL)


_COUNT = "count upwards from {start} until you have written {count} numbers"
_ORDERS = [
    _pattern(template, leet=leet)
    for template in (_COUNT, *(each for group in TEXTS_BY_NAME["tasks"].values() for each in group))
    for leet in (False, True)
]
_BENIGN = [_pattern(template) for template in (*TEXTS["counting"], *TEXTS["filing"])]


def _solved(
    patterns: Sequence[re.Pattern[str]], text: str, *, whole: bool = False
) -> Iterator[str]:
    """What the tasks in a text ask for, in the order in which they stand."""
    plain = fold(text)
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
        return str(int(found["start"]) + int(found["count"]) - 1)
    return f"{int(found['first']) + int(found['second']):,}"


def _tools(text: str) -> Iterator[str]:
    plain = fold(text)
    for name in TEXTS_BY_NAME["tool_demands"]:
        for form in (name, name.translate(_LEET)):
            if form in plain:
                yield name


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
    """Writes a byte now and then, each of them in time."""
    writer.write(_HEAD)
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


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
