"""Command line entry: words in, exit status out.

words → module of the command → its parser → `run` → exit status; an error → one line on stderr
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NoReturn, Protocol, cast

from mlsecops import __version__
from mlsecops.cli.advice import advice
from mlsecops.cli.terminal import note
from mlsecops.errors import (
    ContentRefused,
    MissingExtra,
    MLSecOpsError,
    MLSecOpsWarning,
    RegistryError,
    UsageError,
    VerificationError,
)

HOLDS: Final = 0  # exit status; it holds
REFUSED: Final = 1  # exit status; refused, failed or inconclusive
WRONG_USE: Final = 2  # exit status; as argparse and POSIX utilities use it for usage errors
INTERRUPTED: Final = 130  # exit status; 128 + SIGINT (2), as shells report it
EXIT_STATUS: Final = (
    "exit status: 0 it holds; 1 refused, failed or inconclusive; 2 wrong use or unreadable input"
)

_UNREACHABLE: Final = {
    errno.EACCES, errno.EPERM, errno.EIO, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.EHOSTUNREACH,
}  # fmt: skip

GROUPS: Final = {
    "signing": {
        "hash": "compute the digest of a file, folder or URL",
        "keygen": "create a signing key and its public key",
        "sign": "sign a model",
        "verify": "verify the signature of a model and the digest of every file",
        "dvc": "list, sign or verify the outputs of a DVC repository",
    },
    "loading": {
        "scan": "scan models for dangerous content without loading them",
        "convert": "extract the tensors of an untrusted pickle in a sandboxed process",
        "load": "verify and load a model, and describe it",
        "run": "run a Python script whose loading calls read verified bytes only",
        "watch": "verify a served model again and again, and end its readiness when it fails",
    },
    "testing": {
        "screen": "screen training data for poisoned or anomalous samples",
        "attack": "measure the adversarial robustness of a model and apply a gate",
        "fuzz": "attack the endpoint of a language model and apply a gate; resumable",
    },
    "operations": {
        "registry": "publish, promote, resolve, quarantine and roll back models",
        "incident": "open or report an incident, run its playbook, export it",
        "access": "decide a request by an access policy, and say why; look for loose permissions",
        "drill": "play an incident of each kind against a copy of a registry, with times",
        "lineage": "find what was made from a digest, or what it was made from",
    },
    "reporting": {
        "bom": "build, lint or verify a machine-learning bill of materials",
        "dashboard": "write the monitoring dashboard and the alert rules",
        "diagram": "draw the data flow of a pipeline with its controls and threats",
        "init": "write settings, keys and a script that secure one's own model",
        "deliver": "verify a model and write its six deliverables",
        "demo": "run the whole pipeline on real data and write its six deliverables",
    },
}
"""Group of commands (a package of `mlsecops.cli`) → command → its help in one line."""

COMMANDS: Final = {name: text for group in GROUPS.values() for name, text in group.items()}


class Command(Protocol):
    """Interface of a command's module."""

    EXAMPLE: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; by default those of the process.

    Returns:
        0 it holds, 1 refused or failed, 2 wrong use or an error while checking.

    Examples:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        mlsecops ...
        0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _warnings_as_notes():
            status = _dispatch(words)
        sys.stdout.flush()  # raises BrokenPipeError here rather than at interpreter exit
    except MLSecOpsError as error:
        note(f"{type(error).__name__}: {error}{advice(error)}")
        wrong = isinstance(error, (UsageError, MissingExtra)) or _is_unreachable(error)
        return WRONG_USE if wrong else REFUSED
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe: discard the rest, including the flush at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_USE
    except OSError as error:
        note(f"{error.filename or 'system'}: {error.strerror or error}{advice(error)}")
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


def _is_unreachable(error: MLSecOpsError) -> bool:
    """Whether a registry could not be asked, so that nothing was refused."""
    if not isinstance(error, RegistryError) or not isinstance(error.__cause__, OSError):
        return False
    return error.__cause__.errno in _UNREACHABLE


class Help(argparse.RawDescriptionHelpFormatter):
    """Help formatter that appends the default to the description of an option."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if default in (None, False, [], argparse.SUPPRESS):
            return text
        values = default if isinstance(default, tuple) else (default,)
        return f"{text}; default {' '.join(map(str, values))}"


class Parser(argparse.ArgumentParser):
    """Argument parser that raises `UsageError` instead of exiting.

    Args:
        about: One sentence, without capital and full stop.
        example: A whole command line.
        options: Arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, *, about: str, example: str, **options: Any) -> None:
        sentence, end = f"{about[0].upper()}{about[1:]}.", f"example: {example}\n\n{EXIT_STATUS}"
        super().__init__(description=sentence, epilog=end, formatter_class=Help, **options)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{message}; '{self.prog} --help' shows the options")


def read_command(name: str) -> tuple[Command, Parser]:
    """The module of a command and its parser.

    Args:
        name: One of `COMMANDS`.
    """
    group = next(group for group, commands in GROUPS.items() if name in commands)
    command = cast("Command", import_module(f"mlsecops.cli.{group}.{name}"))
    parser = Parser(prog=f"mlsecops {name}", about=COMMANDS[name], example=command.EXAMPLE)
    command.configure(parser)
    return command, parser


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print the library's own warnings in one line, like its errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", MLSecOpsWarning)
        otherwise = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *place: Any, **stream: Any
        ) -> None:
            if issubclass(category, MLSecOpsWarning):
                note(str(message))
            else:
                otherwise(message, category, *place, **stream)

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
    command, parser = read_command(name)
    try:
        options = parser.parse_args(words[1:])
    except SystemExit:  # --help was printed; a wrong command line raises UsageError
        return HOLDS
    try:
        return command.run(options)
    except (VerificationError, ContentRefused) as error:
        from mlsecops.cli.refusals import print_refusal  # noqa: PLC0415 - a refusal pays for it

        print_refusal(error, options)
        raise


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: mlsecops COMMAND [options]\n\n"
        "Security controls for the whole life of a machine-learning model.\n\n"
        f"commands:\n{rows}\n\n{EXIT_STATUS}\n"
        "'mlsecops COMMAND --help' shows a command's options with an example."
    )
