"""Command-line options that several commands share.

parser → `add_format`, `add_algorithm`, `add_action` → parser; text of an option → its value
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlsecops.provenance.digest import SIZES

T = TypeVar("T")


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    """Declare the output format: text, JSON, or one of `more`."""
    parser.add_argument(
        "--format", choices=("text", "json", *more), default="text", help="output format"
    )


def add_algorithm(parser: argparse.ArgumentParser) -> None:
    """Declare the digest algorithm."""
    parser.add_argument(
        "--algorithm", choices=tuple(SIZES), default="sha256", help="digest algorithm"
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Declare the cache of digests."""
    parser.add_argument(
        "--cache", type=Path, metavar="F", help="file of known digests; unchanged files are skipped"
    )


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


def pair(form: str, convert: Callable[[str], T]) -> Callable[[str], tuple[str, T]]:
    """A parser of `NAME=VALUE` options.

    Args:
        form: The expected form, for messages.
        convert: Makes the value; its `ValueError` is a wrong option.

    Example:
        >>> pair("ATTACK=SHARE, such as pgd=0.6", float)("pgd=0.6")
        ('pgd', 0.6)
    """

    def parse(text: str) -> tuple[str, T]:
        name, _, value = text.partition("=")
        try:
            if name and value:
                return name, convert(value)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {form}, got {text!r}")

    return parse


def seed(text: str) -> int:
    """A seed of the random numbers, 0 to 2147483647.

    Example:
        >>> seed("7")
        7
    """
    if not text.isdecimal() or not int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected 0 to 2147483647, got {text!r}")
    return int(text)


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
