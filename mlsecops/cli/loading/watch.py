"""Command `mlsecops watch`: served model, trust policy → readiness file and endpoint of a pod."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
from pathlib import Path

from mlsecops.cli.options import add_cache, add_format, option
from mlsecops.cli.signing.verify import add_bundle, add_name, add_trust, trust_from
from mlsecops.cli.terminal import show
from mlsecops.cli.values import place, positive
from mlsecops.errors import UsageError
from mlsecops.integrations.readiness import Readiness, ReadinessState
from mlsecops.signing.verification import verify
from mlsecops.signing.verified import Verified

EXAMPLE = "mlsecops watch /models/fraud --policy trust.toml --ready-file /ready/fraud --port 8081"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "path PATH", "model folder or file that is served", type=place)
    add_trust(parser)
    add_bundle(parser)
    add_name(parser)
    option(parser, "--interval S", "seconds between checks", type=positive, default=60.0)
    option(parser, "--ready-file F", "file that is there only while the model holds", type=Path)
    option(parser, "--port N", "TCP port of the endpoint /readyz; none by default", type=int)
    option(parser, "--host ADDRESS", "address of the endpoint", default="127.0.0.1")
    add_cache(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Watch until a signal ends the command."""
    trust_from(options)  # a wrong policy is wrong use, not a model that is not ready

    def check() -> Verified:
        return verify(
            options.path,
            options.bundle,
            policy=trust_from(options),  # anew: a key may have been revoked since
            cache=options.cache,
            name=options.name,
        )

    def say(state: ReadinessState) -> None:
        if options.format == "json":
            show(json.dumps({**state.to_dict(), "message": state.message}))
        elif state.ready:
            show(f"ready {options.path}: {state.digest}")
        else:
            show(f"not ready {options.path}: {state.reason}: {state.message}")
        sys.stdout.flush()  # a log is read while the command runs

    readiness = Readiness(
        check, interval=options.interval, ready_file=options.ready_file, notify=say
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        if options.port is not None:
            if not 0 <= options.port < 1 << 16:
                raise UsageError(f"--port: expected 0 to 65535, got {options.port}")
            port = stack.enter_context(readiness.serving(options.host, options.port))
            if options.format == "text":
                show(f"listening on {options.host}:{port}")
        readiness.run(stop)
    return 0
