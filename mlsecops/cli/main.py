"""Which command was asked for, and what exit status its outcome is."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Final, NoReturn, Protocol, TextIO, cast

from mlsecops import __version__
from mlsecops.cli.terminal import note
from mlsecops.errors import MissingExtra, MLSecOpsError, MLSecOpsWarning, UsageError

HOLDS: Final = 0
REFUSED: Final = 1
WRONG_USE: Final = 2
INTERRUPTED: Final = 130

GROUPS: Final = {
    "signing": {
        "hash": "digest a file or folder",
        "keygen": "make a signing key",
        "sign": "sign a model",
        "verify": "verify a model's signature and every file",
    },
    "loading": {
        "scan": "look for dangerous content without loading anything",
        "convert": "get the tensors out of a pickle that nobody trusts, in a confined child",
        "load": "verify a model, load it, and say what it is",
    },
    "testing": {
        "screen": "look for poisoned or anomalous samples in training data",
        "attack": "measure a model's adversarial robustness and gate on it",
        "fuzz": "attack a language model's endpoint, resumable by seed, and gate on the result",
    },
    "operations": {
        "registry": "publish, promote, resolve, quarantine and roll back models",
        "incident": "open an incident and run its playbook",
    },
    "reporting": {
        "bom": "build, lint or verify a machine-learning bill of materials",
        "dashboard": "write the monitoring dashboard and alert rules",
        "diagram": "draw a pipeline's data flow with its controls and threats",
        "deliver": "verify a model and write the six deliverables about it",
        "demo": "the whole pipeline on real data, with its six deliverables",
    },
}
"""Group of commands (a package of `mlsecops.cli`) → command → its help in one line."""

COMMANDS: Final = {name: text for group in GROUPS.values() for name, text in group.items()}


class Command(Protocol):
    """What a command's module gives."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; return the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; by default those of the process.

    Returns:
        0 it holds, 1 refused or failed, 2 wrong use or an error while checking.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _warnings_as_notes():
            status = _dispatch(words)
        sys.stdout.flush()  # a reader that went away is noticed here, not at interpreter exit
    except MLSecOpsError as error:
        note(f"{type(error).__name__}: {error}")
        return WRONG_USE if isinstance(error, (UsageError, MissingExtra)) else REFUSED
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away: nothing more can be said there, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_USE
    except OSError as error:
        note(f"{error.filename or 'system'}: {error.strerror or error}")
        return WRONG_USE
    except Exception as error:
        if os.environ.get("MLSECOPS_DEBUG"):
            raise
        note(
            f"internal error: {type(error).__name__}: {error}; "
            "set MLSECOPS_DEBUG=1 for the traceback, and please report it"
        )
        return WRONG_USE
    return status


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are errors of ours, told in one line like all the others."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{message}; '{self.prog} --help' shows the options")


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Tell our own warnings in one line, like the errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", MLSecOpsWarning)
        otherwise = warnings.showwarning

        def show(  # noqa: PLR0917 - the shape of warnings.showwarning
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, MLSecOpsWarning):
                note(str(message))
            else:
                otherwise(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _dispatch(words: list[str]) -> int:
    name = words[0] if words else "--help"
    if name in {"-h", "--help"}:
        print(_overview())
        return HOLDS if words else WRONG_USE
    if name == "--version":
        print(f"mlsecops {__version__}")
        return HOLDS
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}: expected one of {', '.join(COMMANDS)}")
    group = next(group for group, commands in GROUPS.items() if name in commands)
    command = cast("Command", import_module(f"mlsecops.cli.{group}.{name}"))
    parser = Parser(
        prog=f"mlsecops {name}",
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.configure(parser)
    try:
        options = parser.parse_args(words[1:])
    except SystemExit:  # the help was asked for and printed: what is wrong raises UsageError
        return HOLDS
    return command.run(options)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: mlsecops COMMAND [options]\n\n"
        "Security controls for the whole life of a machine-learning model.\n\n"
        f"commands:\n{rows}\n\n"
        "exit status: 0 it holds; 1 refused, failed or inconclusive; 2 wrong use or unreadable\n"
        "'mlsecops COMMAND --help' shows a command's options with an example."
    )
