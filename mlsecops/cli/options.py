"""Command-line options that several commands share.

parser → `add_format`, `add_algorithm`, `add_action` → parser
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from mlsecops.cli.values import local_path, number, whole
from mlsecops.provenance.digest import SIZES

Options: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"  # noqa: SLF001 - type only
_TYPES: Final[dict[Any, Callable[[str], Any]]] = {Path: local_path, int: whole, float: number}
"""Type of an option → the reader that says what it expects."""


def option(
    parser: Options, form: str, about: str, *, several: bool = False, **settings: Any
) -> None:
    """Declare an option or a positional argument.

    Args:
        parser: Parser or group of the option.
        form: Flag and value as the help shows them (`"--seed N"`), a flag alone for a switch, or
            the attribute and the value of a positional argument (`"path PATH"`).
        about: One line of help, with the unit; the parser appends the default.
        several: Whether it takes several values and may be repeated.
        settings: Further arguments of `add_argument`; the types Path, int and float refuse an
            empty text, NaN and infinity, and say what they expect.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> option(parser, "--seconds S", "time limit, in seconds", type=float, default=60.0)
        >>> parser.parse_args(["--seconds", "5"]).seconds
        5.0
    """
    name, *values = form.split()
    if (kind := settings.get("type")) in _TYPES:
        settings["type"] = _TYPES[kind]
    if several:
        settings |= {"nargs": "+", "action": "extend", "default": []}
    if values:
        settings["metavar"] = values[0] if len(values) == 1 else tuple(values)
    elif not settings.keys() & {"action", "choices"}:
        settings["action"] = "store_true"
    parser.add_argument(name, help=about, **settings)


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    """Declare the output format: text, JSON, or one of `more`."""
    option(parser, "--format", "output format", choices=("text", "json", *more), default="text")


def add_algorithm(parser: argparse.ArgumentParser) -> None:
    """Declare the digest algorithm."""
    option(parser, "--algorithm", "digest algorithm", choices=tuple(SIZES), default="sha256")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Declare the cache of digests."""
    option(parser, "--cache F", "file of known digests; unchanged files are skipped", type=Path)


def add_action(actions: Any, name: str, about: str, example: str) -> argparse.ArgumentParser:
    """Add an action of a command, with help like that of the command.

    Args:
        actions: Result of `add_subparsers`.
        name: Name of the action.
        about: One sentence, without capital and full stop.
        example: A whole command line.
    """
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=about, about=about, example=example
    )
    return action


class Once(argparse.Action):
    """Option that refuses a second value instead of silently replacing the first."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        """Keep the value.

        Raises:
            ArgumentError: The option was given before.
        """
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, f"given twice: {self.help}")
        setattr(namespace, self.dest, values)
