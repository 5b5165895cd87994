"""What several commands declare alike: a format, a digest algorithm, a seed, an action."""

from __future__ import annotations

import argparse
from typing import Any

from mlsecops.provenance.digest import SIZES


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    """Declare how the result is printed: as text, JSON, or in `more` formats."""
    parser.add_argument(
        "--format", choices=("text", "json", *more), default="text",
        help="how the result is printed; default text",
    )  # fmt: skip


def add_algorithm(parser: argparse.ArgumentParser) -> None:
    """Declare by which algorithm files are digested."""
    parser.add_argument(
        "--algorithm", choices=tuple(SIZES), default="sha256",
        help="of the digests; default sha256",
    )  # fmt: skip


def add_action(actions: Any, name: str, about: str, example: str) -> argparse.ArgumentParser:
    """Add one of a command's actions, with a help like that of the command.

    Args:
        actions: What `add_subparsers` gave.
        name: The action.
        about: What it does, without a full stop.
        example: A whole command line.
    """
    action: argparse.ArgumentParser = actions.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return action


def seed(text: str) -> int:
    """A seed of the random numbers, 0 to 2147483647."""
    if not text.isdecimal() or not int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected 0 to 2147483647, got {text!r}")
    return int(text)


class Once(argparse.Action):
    """Refuses a second value, which would replace the first unseen."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value.

        Raises:
            ArgumentError: There is one already.
        """
        del parser, option_string
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, f"given twice: {self.help}")
        setattr(namespace, self.dest, values)
