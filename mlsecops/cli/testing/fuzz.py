"""Command `mlsecops fuzz`: endpoint and seed → Campaign → FuzzGate → exit status."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mlsecops._json import parse_object
from mlsecops.cli.inputs import read_text
from mlsecops.cli.options import Once, add_format, option
from mlsecops.cli.terminal import print_findings, progress, show_json
from mlsecops.cli.testing.fuzz_text import print_campaign
from mlsecops.cli.values import count, positive, seed, share, web_address
from mlsecops.errors import UsageError
from mlsecops.llm import (
    Application,
    Attempt,
    Campaign,
    Caps,
    ChatEndpoint,
    FuzzGate,
    FuzzJudgement,
    datamark,
    delimit,
    earlier_figures,
    encode,
    fuzz,
    read_attempts,
)
from mlsecops.llm.redteam.campaign import ATTEMPTS, CONCURRENCY, planned_attempts
from mlsecops.llm.redteam.grammar.application import read_application
from mlsecops.llm.redteam.grammar.attack_texts import LANGUAGES
from mlsecops.llm.redteam.grammar.generator import Plan, chosen_families, require_count

_SPOTLIGHTS = {"datamark": datamark, "delimit": delimit, "encode": encode}
EXAMPLE = (
    "mlsecops fuzz https://models.example/v1 --model small --seed 7 --out run.jsonl "
    "--api-key-env MODELS_KEY"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "url URL",
           "address; /responses, /messages or /chat/completions names its shape",
           type=web_address)  # fmt: skip
    option(parser, "--model M", "name of the model on the server", required=True)
    option(parser, "--seed N", "seed that determines the attempts", type=seed, default=0)
    option(parser, "--attempts N", "number of attempts, including benign questions",
           type=count, default=ATTEMPTS)  # fmt: skip
    option(parser, "--classes NAMES",
           "classes separated by commas, such as encoding,many-shot,benign; default all",
           action=Once)  # fmt: skip
    option(parser, "--application F.toml",
           "the application: system, documents, tools, secrets, language, questions",
           type=Path)  # fmt: skip
    option(parser, "--language L", "language of the attempts", choices=LANGUAGES)
    option(parser, "--own F.toml", "own attempts: [[attempts]] with class and text", type=Path)
    option(parser, "--repeats N", "how often each attempt is made", type=count, default=1)
    option(parser, "--turns N", "turns of a conversation; a resisted attack goes on",
           type=count, default=1)  # fmt: skip
    option(parser, "--branches N", "ways to go on that each further turn tries",
           type=count, default=1)  # fmt: skip
    option(parser, "--spotlight METHOD", "measure what marking texts from outside changes",
           choices=tuple(_SPOTLIGHTS))  # fmt: skip
    option(parser, "--target-id ID", "the model's digest or version, for the report and --out")
    option(parser, "--out F.jsonl", "file of finished attempts; with the same file a run resumes",
           type=Path)  # fmt: skip
    option(parser, "--dry-run", "print the attempts as JSON lines; send and write nothing")
    add_request_options(parser)
    add_gate_options(parser)
    add_format(parser, "sarif", "junit", "html")


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Declare the requests to the model and their limits."""
    asking = parser.add_argument_group("requests")
    option(asking, "--api-key-env NAME", "environment variable that holds the key")
    option(asking, "--header NAME=ENV",
           "header whose value an environment variable holds, such as api-key=AZURE_KEY",
           action="append", default=[])  # fmt: skip
    option(asking, "--stream", "ask for streamed answers")
    option(asking, "--system-role ROLE", "role of system messages; user for models without one",
           choices=("system", "developer", "user"), default="system")  # fmt: skip
    option(asking, "--concurrency N", "number of concurrent requests",
           type=count, default=CONCURRENCY)  # fmt: skip
    option(asking, "--timeout S", "time for an answer, in seconds", type=positive, default=60.0)
    option(asking, "--answer-tokens N", "most tokens of an answer", type=count, default=512)
    option(asking, "--body JSON",
           'additional members of each request, such as {"temperature": 1}; null removes one',
           type=_members)  # fmt: skip
    option(asking, "--max-requests N", "total number of requests", type=count)
    option(asking, "--max-tokens N", "total number of tokens", type=count)
    option(asking, "--max-cost C", "total cost; needs --price", type=positive)
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
           type=share)  # fmt: skip
    option(gate, "--min-usefulness SHARE", "lowest share of benign questions answered, 0 to 1",
           type=share)  # fmt: skip
    option(gate, "--baseline F",
           "earlier JSON report, or its --out; no class may be worse than in it",
           type=Path)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the campaign, apply the gate, and print the outcomes."""
    families = None if options.classes is None else options.classes.split(",")
    own = None if options.own is None else read_attempts(options.own)
    application = _application(options)
    settings: dict[str, Any] = {
        "turns": options.turns,
        "branches": options.branches,
        "spotlight": _SPOTLIGHTS.get(options.spotlight),
    }
    if options.dry_run:
        require_count(options.attempts)
        ground = application.ground()
        chosen = chosen_families(families, own)
        plan = Plan(seed=options.seed, families=chosen, ground=ground, **settings)
        _print_attempts(tuple(planned_attempts(plan, options.attempts)), options)
        return 0
    gate, target = _gate(options), _endpoint(options)
    with progress("fuzzing", unit="samples") as bar:
        campaign = fuzz(
            target,
            seed=options.seed,
            attempts=options.attempts,
            classes=families,
            application=application,
            own=own,
            repeats=options.repeats,
            concurrency=options.concurrency,
            out=options.out,
            target_id=options.target_id,
            progress=bar,
            **settings,
        )
    judgement = gate.judge(campaign)
    _print(campaign, judgement, options)
    return int(judgement.verdict != "pass")


def _application(options: argparse.Namespace) -> Application:
    if options.application is None:
        return Application(language=options.language or "en")
    return read_application(options.application, language=options.language)


def _endpoint(options: argparse.Namespace) -> ChatEndpoint:
    prompt, answer = options.price
    if options.max_cost is not None and not (prompt or answer):
        raise UsageError("--max-cost: expected --price PROMPT ANSWER with it, got none")
    return ChatEndpoint(
        options.url,
        model=options.model,
        api_key=None if options.api_key_env is None else _key("--api-key-env", options.api_key_env),
        headers=dict(_header(each) for each in options.header),
        stream=options.stream,
        system_role=options.system_role,
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


def _key(name: str, variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(f"{name} {variable}: expected it to hold a key in printable ASCII")
    return key


def _header(text: str) -> tuple[str, str]:
    name, equals, variable = text.partition("=")
    if not (name and equals and variable):
        raise UsageError(f"--header: expected NAME=ENV such as api-key=AZURE_KEY, got {text!r}")
    return name, _key(f"--header {name}", variable)


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
        print_campaign(campaign, judgement, model=options.model)
    elif options.format == "html":
        from mlsecops.reports.pages.red_team import red_team_page  # noqa: PLC0415 - for it only

        value = {**campaign.to_dict(verdict=judgement.verdict), "gate": judgement.to_dict()}
        print(red_team_page(value, target=campaign.target, model=options.model), end="")
    else:
        passed = options.format == "junit"  # JUnit lists passed tests, SARIF only findings
        found = [
            *judgement.findings(artifact=campaign.target, held=passed),
            *campaign.findings(),
        ]
        print_findings(found, options.format, checked=[campaign.target])
