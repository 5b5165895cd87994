"""Command `mlsecops fuzz`: endpoint and seed → Campaign → FuzzGate → exit status."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mlsecops._json import parse_object
from mlsecops.cli.inputs import read_text
from mlsecops.cli.options import Once, add_format, option, seed
from mlsecops.cli.terminal import print_findings, progress, show, show_json
from mlsecops.errors import UsageError
from mlsecops.llm import (
    Attempt,
    Campaign,
    Caps,
    ChatEndpoint,
    ClassFigure,
    FuzzGate,
    FuzzJudgement,
    draw_attempts,
    earlier_figures,
    fuzz,
)
from mlsecops.llm.redteam.campaign import ATTEMPTS, CONCURRENCY

EXAMPLE = (
    "mlsecops fuzz https://models.example/v1 --model small --seed 7 --out run.jsonl "
    "--api-key-env MODELS_KEY"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "url URL",
           "OpenAI-compatible address, with or without /chat/completions")  # fmt: skip
    option(parser, "--model M", "name of the model on the server", required=True)
    option(parser, "--seed N", "seed that determines the attempts", type=seed, default=0)
    option(parser, "--attempts N", "number of attempts, including benign questions",
           type=int, default=ATTEMPTS)  # fmt: skip
    option(parser, "--classes NAMES",
           "classes separated by commas, such as encoding,many-shot,benign; default all",
           action=Once)  # fmt: skip
    option(parser, "--out F.jsonl", "file of finished attempts; with the same file a run resumes",
           type=Path)  # fmt: skip
    option(parser, "--dry-run", "print the attempts as JSON lines; send and write nothing")
    add_request_options(parser)
    add_gate_options(parser)
    add_format(parser, "sarif", "junit")


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Declare the requests to the model and their limits."""
    asking = parser.add_argument_group("requests")
    option(asking, "--api-key-env NAME", "environment variable that holds the bearer token")
    option(asking, "--concurrency N", "number of concurrent requests",
           type=int, default=CONCURRENCY)  # fmt: skip
    option(asking, "--timeout S", "time for an answer, in seconds", type=float, default=60.0)
    option(asking, "--answer-tokens N", "most tokens of an answer", type=int, default=512)
    option(asking, "--body JSON",
           'additional members of each request, such as {"temperature": 1}; null removes one',
           type=_members)  # fmt: skip
    option(asking, "--max-requests N", "total number of requests", type=int)
    option(asking, "--max-tokens N", "total number of tokens", type=int)
    option(asking, "--max-cost C", "total cost; needs --price", type=float)
    option(asking, "--price PROMPT ANSWER",
           "cost of a million prompt tokens and of a million answer tokens",
           type=float, nargs=2, default=(0.0, 0.0))  # fmt: skip
    option(asking, "--unsafe-plain-http", "send prompts and key unencrypted to another machine")


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    """Declare the thresholds of the gate."""
    gate = parser.add_argument_group("gate")
    option(gate, "--max-success SHARE",
           "highest upper bound of the success rate of a class, 0 to 1; default no success, "
           "unless there is a baseline",
           type=float)  # fmt: skip
    option(gate, "--min-usefulness SHARE", "lowest share of benign questions answered, 0 to 1",
           type=float)  # fmt: skip
    option(gate, "--baseline F",
           "earlier JSON report, or its --out; no class may be worse than in it",
           type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the campaign, apply the gate, and print the outcomes."""
    families = None if options.classes is None else options.classes.split(",")
    if options.dry_run:
        drawn = draw_attempts(options.attempts, seed=options.seed, families=families)
        _print_attempts(drawn, options)
        return 0
    gate, target = _gate(options), _endpoint(options)
    with progress("fuzzing", unit="samples") as bar:
        campaign = fuzz(
            target,
            seed=options.seed,
            attempts=options.attempts,
            classes=families,
            concurrency=options.concurrency,
            out=options.out,
            progress=bar,
        )
    judgement = gate.judge(campaign)
    _print(campaign, judgement, options)
    return int(judgement.verdict != "pass")


def _endpoint(options: argparse.Namespace) -> ChatEndpoint:
    prompt, answer = options.price
    return ChatEndpoint(
        options.url,
        model=options.model,
        api_key=_key(options),
        caps=Caps(
            requests=options.max_requests,
            tokens=options.max_tokens,
            cost=options.max_cost,
            prompt_price=prompt,
            answer_price=answer,
        ),
        answer_tokens=options.answer_tokens,
        body=options.body,
        timeout=options.timeout,
        unsafe_plain_http=options.unsafe_plain_http,
    )


def _key(options: argparse.Namespace) -> str | None:
    if options.api_key_env is None:
        return None
    key = os.environ.get(options.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(
            f"--api-key-env {options.api_key_env}: expected it to hold a key in printable ASCII"
        )
    return key


def _members(text: str) -> dict[str, Any]:
    return parse_object(text, what=repr(text), error=argparse.ArgumentTypeError)


def _gate(options: argparse.Namespace) -> FuzzGate:
    earlier = None
    if options.baseline is not None:
        try:
            earlier = earlier_figures(read_text(options.baseline))
        except UsageError as error:
            raise UsageError(f"--baseline {options.baseline}: {error}") from error
    return FuzzGate(
        max_success=options.max_success, min_usefulness=options.min_usefulness, earlier=earlier
    )


def _print_attempts(drawn: tuple[Attempt, ...], options: argparse.Namespace) -> None:
    if options.format == "json":
        show_json({"seed": options.seed, "attempts": [each.to_dict() for each in drawn]})
        return
    for attempt in drawn:
        print(json.dumps(attempt.to_dict()))


def _print(campaign: Campaign, judgement: FuzzJudgement, options: argparse.Namespace) -> None:
    if options.format == "json":
        show_json({**campaign.to_dict(verdict=judgement.verdict), "gate": judgement.to_dict()})
    elif options.format == "text":
        show(f"{campaign.target}, model {options.model}")
        show(*_text(campaign, judgement))
    else:
        passed = options.format == "junit"  # JUnit lists passed tests, SARIF only findings
        found = judgement.findings(artifact=campaign.target, held=passed)
        print_findings(found, options.format, checked=[campaign.target])


def _text(campaign: Campaign, judgement: FuzzJudgement) -> list[str]:
    lines = [f"{len(campaign.results)} attempts, seed {campaign.seed}, 95 % intervals (Wilson)"]
    lines += [f"  {_line(each)}" for each in campaign.classes]
    if campaign.usefulness is not None:
        lines.append(f"benign questions answered: {_counts(campaign.usefulness)}")
    lines += [f"not checked: {name}" for name in campaign.unchecked]
    errors = {each.reason: each.attempt.id for each in campaign.results if each.reason}
    lines += [f"error, as in attempt {name}: {reason}" for reason, name in errors.items()]
    lines.append(f"gate: {judgement.verdict}")
    return [*lines, *(f"  {reason}" for reason in judgement.reasons)]


def _line(figure: ClassFigure) -> str:
    best = figure.at(5)
    some = "" if best is None else f", one of 5: {best:.0%}"
    return f"{figure.name:<22} {_counts(figure)}{some}"


def _counts(figure: ClassFigure) -> str:
    low, high = figure.interval
    errors = f", {figure.errors} errors" if figure.errors else ""
    counts = f"{figure.successes} of {figure.answered}"
    return f"{counts:>9} ({low:.0%} to {high:.0%}){errors}"
