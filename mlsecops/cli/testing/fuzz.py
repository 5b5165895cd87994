"""Command `mlsecops fuzz`: endpoint and seed → Campaign → FuzzGate → exit status."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mlsecops._json import parse_object
from mlsecops.cli.inputs import read_text
from mlsecops.cli.options import Once, add_format, seed
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
    parser.add_argument(
        "url", metavar="URL",
        help="address of chat completions in OpenAI's form, with or without /chat/completions",
    )  # fmt: skip
    parser.add_argument(
        "--model", required=True, metavar="M", help="name of the model on the server"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed that determines the attempts"
    )
    parser.add_argument(
        "--attempts", type=int, default=ATTEMPTS, metavar="N",
        help="number of attempts, including benign questions",
    )  # fmt: skip
    parser.add_argument(
        "--classes", action=Once, metavar="NAMES",
        help="classes separated by commas, such as encoding,many-shot,benign; default all",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="F.jsonl",
        help="file of finished attempts; with the same file a run resumes",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print the attempts as JSON lines; send and write nothing",
    )  # fmt: skip
    add_request_options(parser)
    add_gate_options(parser)
    add_format(parser, "sarif", "junit")


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Declare the requests to the model and their limits."""
    asking = parser.add_argument_group("requests")
    asking.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable that holds the bearer token"
    )
    asking.add_argument(
        "--concurrency", type=int, default=CONCURRENCY, metavar="N",
        help="number of concurrent requests",
    )  # fmt: skip
    asking.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="time for an answer, in seconds"
    )
    asking.add_argument(
        "--answer-tokens", type=int, default=512, metavar="N", help="most tokens of an answer"
    )
    asking.add_argument(
        "--body", type=_members, metavar="JSON",
        help='additional members of each request, such as {"temperature": 1}; null removes one',
    )  # fmt: skip
    asking.add_argument("--max-requests", type=int, metavar="N", help="total number of requests")
    asking.add_argument("--max-tokens", type=int, metavar="N", help="total number of tokens")
    asking.add_argument("--max-cost", type=float, metavar="C", help="total cost; needs --price")
    asking.add_argument(
        "--price", type=float, nargs=2, default=(0.0, 0.0), metavar=("PROMPT", "ANSWER"),
        help="cost of a million prompt tokens and of a million answer tokens",
    )  # fmt: skip
    asking.add_argument(
        "--unsafe-plain-http", action="store_true",
        help="send prompts and key unencrypted to another machine",
    )  # fmt: skip


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    """Declare the thresholds of the gate."""
    gate = parser.add_argument_group("gate")
    gate.add_argument(
        "--max-success", type=float, metavar="SHARE",
        help="highest upper bound of the success rate of a class, 0 to 1; default no success, "
        "unless there is a baseline",
    )  # fmt: skip
    gate.add_argument(
        "--min-usefulness", type=float, metavar="SHARE",
        help="lowest share of benign questions answered, 0 to 1",
    )  # fmt: skip
    gate.add_argument(
        "--baseline", type=Path, metavar="F",
        help="earlier JSON report, or its --out; no class may be worse than in it",
    )  # fmt: skip


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
        show(_text(campaign, judgement))
    else:
        passed = options.format == "junit"  # JUnit lists passed tests, SARIF only findings
        found = judgement.findings(artifact=campaign.target, held=passed)
        print_findings(found, options.format, checked=[campaign.target])


def _text(campaign: Campaign, judgement: FuzzJudgement) -> str:
    lines = [f"{len(campaign.results)} attempts, seed {campaign.seed}, 95 % intervals (Wilson)"]
    lines += [f"  {_line(each)}" for each in campaign.classes]
    if campaign.usefulness is not None:
        lines.append(f"benign questions answered: {_counts(campaign.usefulness)}")
    lines += [f"not checked: {name}" for name in campaign.unchecked]
    errors = {each.reason: each.attempt.id for each in campaign.results if each.reason}
    lines += [f"error, as in attempt {name}: {reason}" for reason, name in errors.items()]
    lines.append(f"gate: {judgement.verdict}")
    return "\n".join([*lines, *(f"  {reason}" for reason in judgement.reasons)])


def _line(figure: ClassFigure) -> str:
    best = figure.at(5)
    some = "" if best is None else f", one of 5: {best:.0%}"
    return f"{figure.name:<22} {_counts(figure)}{some}"


def _counts(figure: ClassFigure) -> str:
    low, high = figure.interval
    errors = f", {figure.errors} errors" if figure.errors else ""
    counts = f"{figure.successes} of {figure.answered}"
    return f"{counts:>9} ({low:.0%} to {high:.0%}){errors}"
