"""Command `mlsecops run`: trust policy and script → the script, whose loads are verified."""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

from mlsecops.cli.options import option
from mlsecops.cli.terminal import note
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.integrations.protection.blocks import protect
from mlsecops.signing.policy import TrustPolicy

_RUNNING: Final = {__file__, runpy.__file__, "<frozen runpy>"}
EXAMPLE = "mlsecops run --policy trust.toml serve.py --port 8080"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(parser, "--policy TOML", "trust policy file", type=Path, required=True)
    option(parser, "--tier T", "how bytes are held", choices=("sealed", "private-copy"),
           default="sealed")  # fmt: skip
    option(parser, "--allow-global NAME", "audited name that files may use; may be repeated",
           action="append", default=[])  # fmt: skip
    option(parser, "--allow-unchecked", "load formats that the scan does not know")
    option(parser, "--module", "SCRIPT is the name of a module, as for python -m")
    option(parser, "script SCRIPT", "script, with its own options after it",
           nargs=argparse.REMAINDER)  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the script in this process and return its exit status."""
    words = options.script[1:] if options.script[:1] == ["--"] else options.script
    if not words:
        raise UsageError("run: expected a script to run, got none; name it after the options")
    if not options.module and not Path(words[0]).is_file():
        raise UsageError(f"run: cannot read {words[0]}: expected a Python script")
    block = protect(
        TrustPolicy.load(options.policy),
        tier=options.tier,
        allow_globals=options.allow_global,
        allow_unchecked=options.allow_unchecked,
    )
    arguments, path = sys.argv, list(sys.path)
    try:
        sys.argv = list(words)
        with block:
            return _run(words[0], module=options.module)
    finally:
        sys.argv, sys.path[:] = arguments, path


def _run(name: str, *, module: bool) -> int:
    """Run a script or module as Python does; an error of this library passes through."""
    sys.path.insert(0, "" if module else str(Path(name).resolve().parent))
    try:
        if module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    except (MLSecOpsError, KeyboardInterrupt):
        raise
    except SystemExit as leaving:
        return _status(leaving.code)
    except BaseException as error:  # noqa: BLE001 - the script's own, shown as Python shows it
        traceback.print_exception(error.with_traceback(_own(error)))
        return 1
    return 0


def _status(code: object) -> int:
    """Exit status of a script that leaves, as Python's."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    note(str(code))
    return 1


def _own(error: BaseException) -> TracebackType | None:
    """Traceback of a script's error, without the frames that run the script."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename in _RUNNING:
        found = found.tb_next
    return found
