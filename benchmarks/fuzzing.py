"""Duration of a campaign of 256 attempts, and success rates of nine kinds of model.

The model answers after 0.1 s with 16 concurrent requests, so 1.6 s is the lower bound. Compared are
`fuzz`, a loop of bare httpx that sends the same bodies and reads no answer, and the command with
its start. garak, where it is installed (`make peers`), sends the 256 prompts of one of its probes
to the same model, 16 at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.measure import compare, table
from mlsecops.integrations.garak import run_garak
from mlsecops.llm import ChatEndpoint, FuzzGate, draw_attempts, fuzz

ATTEMPTS = 256  # attempts; the default of `fuzz`
CONCURRENCY = 16  # requests at once; the default of `fuzz`
LATENCY = 0.1  # seconds
BOUND = ATTEMPTS / CONCURRENCY * LATENCY  # seconds
GARAK = Path(__file__).parent / ".env-garak" / "bin" / "garak"
INCONCLUSIVE = 1  # exit status
ROUNDS = 5  # rounds; chosen: the median is stable


@contextmanager
def serving(mode: str, latency: float) -> Iterator[str]:
    """Run a model in another process; yields its address."""
    command = [sys.executable, "-m", "tests.attackers.llm_redteam", mode, str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def bare(url: str, bodies: list[bytes]) -> None:
    """Send all bodies concurrently and receive the answers: the least that a client must do."""

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
    """Run the command from start to end; of a model that refuses everything it says nothing."""
    words = [url, "--model", "m", "--attempts", str(ATTEMPTS), "--concurrency", str(CONCURRENCY)]
    done = subprocess.run(
        [sys.executable, "-m", "mlsecops", "fuzz", *words], check=False, capture_output=True
    )
    if done.returncode != INCONCLUSIVE:
        raise SystemExit(f"mlsecops fuzz: expected exit status 1, got {done.returncode}")


def garak(url: str) -> None:
    """Run garak from start to end, on a probe with as many prompts."""
    where = {"openai": {"OpenAICompatible": {"uri": url.rpartition("/chat/")[0] + "/"}}}
    with tempfile.TemporaryDirectory() as folder:
        found = run_garak(
            GARAK, target_type="openai.OpenAICompatible", target_name="m", generations=1,
            probes=("encoding.InjectHex",), out=Path(folder) / "run", timeout=300,
            arguments=("--parallel_attempts", str(CONCURRENCY),
                       "--generator_options", json.dumps(where)),
            environment={**os.environ, "OPENAICOMPATIBLE_API_KEY": "none"},
        )  # fmt: skip
    asked = max(each.attempts for each in found.figures)
    if asked != ATTEMPTS:
        raise SystemExit(f"garak: expected {ATTEMPTS} prompts, got {asked}")


def speed() -> None:
    """Print times against the bound, bare httpx and garak."""
    with serving("refuse", LATENCY) as url:
        endpoint = ChatEndpoint(url, model="m")
        bodies = [endpoint.request(attempt) for attempt in draw_attempts(ATTEMPTS)]
        ways = {
            "mlsecops fuzz": lambda: command(url),
            "fuzz": lambda: fuzz(endpoint, attempts=ATTEMPTS, concurrency=CONCURRENCY),
            "bare httpx": lambda: bare(url, bodies),
        }
        if GARAK.exists():
            ways["garak"] = lambda: garak(url)
        else:
            print("garak: not installed; run `make peers`")
        found = compare(
            f"{ATTEMPTS} attempts, {CONCURRENCY} at once, {LATENCY} s each",
            ways,
            ours="mlsecops fuzz",
            rounds=ROUNDS,
        )
    print(table([found]))
    for name in found.seconds:
        print(f"{name}: {found.median(name):.2f} s, {found.median(name) / BOUND:.2f} of the bound")


def rates() -> None:
    """Print the rates of each kind of model."""
    modes = ("vulnerable", "hardened", "flaky", "echo", "refuse")
    for mode in (*modes, "empty", "thinking", "cut-off", "blocked"):
        with serving(mode, 0.0) as url:
            campaign = fuzz(ChatEndpoint(url, model="m"), attempts=ATTEMPTS)
        asked = sum(figure.attempts for figure in campaign.classes)
        won = sum(figure.successes for figure in campaign.classes)
        errors = sum(figure.errors for figure in campaign.figures)
        honest = campaign.ability
        print(
            f"{mode:<10} {won:>3} of {asked} attacks succeed, {honest.successes:>2} of "
            f"{honest.attempts} honest questions are answered, {errors} errors: "
            f"{FuzzGate().judge(campaign).verdict}"
        )


def main() -> None:
    """Print times and rates."""
    speed()
    rates()


if __name__ == "__main__":
    main()
