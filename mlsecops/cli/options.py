"""Command-line options that several commands share.

parser → `add_format`, `add_algorithm`, `add_action` → parser; text of an option → its value
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mlsecops.provenance.digest import SIZES
from mlsecops.provenance.files.urls import is_url
from mlsecops.signing.services.service import is_service

T = TypeVar("T")
Options: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"  # noqa: SLF001 - type only


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
        settings: Further arguments of `add_argument`.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> option(parser, "--seconds S", "time limit, in seconds", type=float, default=60.0)
        >>> parser.parse_args(["--seconds", "5"]).seconds
        5.0
    """
    name, *values = form.split()
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


def location(text: str) -> Path | str:
    """A local path, or the URL of an object as it is.

    Examples:
        >>> location("s3://bucket/model.sig"), location("model/model.sig").name
        ('s3://bucket/model.sig', 'model.sig')
    """
    return text if is_url(text) else Path(text)


def key_source(text: str) -> Path | str:
    """The path of a private key, or the URI of one in a key service as it is.

    Examples:
        >>> key_source("awskms:///alias/release"), key_source("release.pem").name
        ('awskms:///alias/release', 'release.pem')
    """
    return text if is_service(text) else Path(text)


def pair(form: str, convert: Callable[[str], T]) -> Callable[[str], tuple[str, T]]:
    """A parser of `NAME=VALUE` options.

    Args:
        form: The expected form, for messages.
        convert: Makes the value; its `ValueError` is a wrong option.

    Examples:
        >>> pair("ATTACK=SHARE", float)("pgd=0.6")
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

    Examples:
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
