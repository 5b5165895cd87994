"""Command `mlsecops drill`: registry → incidents of each kind, in a copy → steps and times."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlsecops.cli.operations.registry import add_registry_options, open_registry
from mlsecops.cli.options import option
from mlsecops.cli.signing.keygen import add_password
from mlsecops.cli.signing.sign import read_signer
from mlsecops.cli.terminal import note, show, show_json
from mlsecops.cli.values import key_source
from mlsecops.incident import Drill, run_drill
from mlsecops.incident.guidance import KINDS

EXAMPLE = "mlsecops drill --location reg --policy trust.toml --signer key.pem"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_registry_options(parser, writes=False)
    option(parser, "--signer KEY.pem", "private key, or URI of one in a key service, that signs "
           "the log of the copy", type=key_source, required=True)  # fmt: skip
    add_password(parser)
    option(parser, "--kind KIND", "kinds of incidents; default all", several=True, choices=KINDS)


def run(options: argparse.Namespace) -> int:
    """Play the incidents and print their steps; 1 where one could not be handled to its end."""
    options.location = getattr(options, "location", None)
    signer_source, options.signer = options.signer, None  # the registry itself is only read
    registry = open_registry(options)
    alone = argparse.Namespace(password_env=options.password_env, cert=None, chain=[])
    drills = run_drill(
        registry,
        signer=read_signer(signer_source, alone),
        kinds=options.kind or KINDS,
        progress=(lambda kind: note(f"drill: {kind}")) if sys.stderr.isatty() else None,
    )
    value = {
        "schema": "mlsecops.drill/1",
        "location": str(options.location),
        "held": all(drill.held for drill in drills),
        "drills": [drill.to_dict() for drill in drills],
    }
    if options.format == "json":
        show_json(value)
    else:
        _print(drills)
    return 0 if value["held"] else 1


def _print(drills: Sequence[Drill]) -> None:
    for drill in drills:
        show(
            f"{drill.kind}: {drill.model}, {drill.state} after {drill.seconds:.2f} s, refused "
            f"after {drill.isolated:.2f} s"
        )
        for step in drill.steps:
            show(f"  {step.state:<8} {step.name:<10} {step.seconds:7.3f} s  {step.note}")
        show(f"  other models: {drill.others} resolutions, {drill.others_refused} refused")
        for sentence in drill.missing:
            show(f"  not rehearsed: {sentence}")
