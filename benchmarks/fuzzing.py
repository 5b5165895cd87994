"""How long 256 attempts on a language model take, and which rates five kinds of model get.

The model answers after 0.1 s and is asked 16 times at once, so that 1.6 s is the least that anybody
can need. Against it stand a loop of bare httpx that sends the same bodies and looks at nothing, and
the command with its start.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from benchmarks.measure import compare, table
from mlsecops.llm import ChatEndpoint, FuzzGate, draw_attempts, fuzz

ATTEMPTS = 256
CONCURRENCY = 16
LATENCY = 0.1  # seconds
BOUND = ATTEMPTS / CONCURRENCY * LATENCY
ROUNDS = 5


@contextmanager
def serving(mode: str, latency: float) -> Iterator[str]:
    """A model in a process of its own; its address."""
    command = [sys.executable, "-m", "tests.attackers.llm_servers", mode, str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def bare(url: str, bodies: list[bytes]) -> None:
    """Send bodies, so many at once, and read the answers: what nobody can do without."""

    async def work(client: httpx.AsyncClient, waiting: Iterator[bytes]) -> None:
        for body in waiting:
            answer = await client.post(
                url, content=body, headers={"content-type": "application/json"}
            )
            answer.raise_for_status()

    async def run() -> None:
        async with httpx.AsyncClient() as client:
            waiting = iter(bodies)
            await asyncio.gather(*(work(client, waiting) for _ in range(CONCURRENCY)))

    asyncio.run(run())


def command(url: str) -> None:
    """The command, from its start to its end."""
    words = [url, "--model", "m", "--attempts", str(ATTEMPTS), "--concurrency", str(CONCURRENCY)]
    subprocess.run(
        [sys.executable, "-m", "mlsecops", "fuzz", *words], check=True, capture_output=True
    )


def speed() -> None:
    """Time against the bound and against bare httpx."""
    with serving("refuse", LATENCY) as url:
        endpoint = ChatEndpoint(url, model="m")
        bodies = [endpoint.request(attempt) for attempt in draw_attempts(ATTEMPTS)]
        found = compare(
            f"{ATTEMPTS} attempts, {CONCURRENCY} at once, {LATENCY} s each",
            {
                "fuzz": lambda: fuzz(endpoint, attempts=ATTEMPTS, concurrency=CONCURRENCY),
                "bare httpx": lambda: bare(url, bodies),
                "mlsecops fuzz": lambda: command(url),
            },
            ours="fuzz",
            rounds=ROUNDS,
        )
    print(table([found]))
    for name in found.seconds:
        print(f"{name}: {found.median(name):.2f} s, {found.median(name) / BOUND:.2f} of the bound")


def rates() -> None:
    """What each kind of model gets."""
    for mode in ("vulnerable", "hardened", "echo", "refuse", "flaky"):
        with serving(mode, 0.0) as url:
            campaign = fuzz(ChatEndpoint(url, model="m"), attempts=ATTEMPTS)
        asked = sum(figure.attempts for figure in campaign.classes)
        won = sum(figure.successes for figure in campaign.classes)
        errors = sum(figure.errors for figure in campaign.figures)
        useful = campaign.figures[-1]  # the benign ones are the last
        print(
            f"{mode:<10} {won:>3} of {asked} attacks succeed, {useful.successes:>2} of "
            f"{useful.attempts} benign questions are answered, {errors} errors: "
            f"{FuzzGate().judge(campaign).verdict}"
        )


def main() -> None:
    """Print both."""
    speed()
    rates()


if __name__ == "__main__":
    main()
