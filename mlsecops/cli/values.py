"""Values of options: text of the command line → path, address, number, share or pair.

A text that is none raises `argparse.ArgumentTypeError`, which says what was expected and what was
given.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from mlsecops._addresses import public_address
from mlsecops.errors import UsageError
from mlsecops.provenance.files.urls import is_url
from mlsecops.signing.services.service import is_service

T = TypeVar("T")

_SHOWN: Final = 40  # characters of a wrong value in a message; chosen: what fits one line


def place(text: str) -> str:
    """A path or URL as it is; an empty text is neither.

    Examples:
        >>> place("s3://bucket/model")
        's3://bucket/model'
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path or URL, got an empty text")
    return text


def local_path(text: str) -> Path:
    """A path; an empty text, which an unset variable leaves, is no path.

    Examples:
        >>> local_path("model").name
        'model'
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def location(text: str) -> Path | str:
    """A local path, or the URL of an object as it is.

    Examples:
        >>> location("s3://bucket/model.sig"), location("model/model.sig").name
        ('s3://bucket/model.sig', 'model.sig')
    """
    return text if is_url(text) else local_path(text)


def key_source(text: str) -> Path | str:
    """The path of a private key, or the URI of one in a key service as it is.

    Examples:
        >>> key_source("awskms:///alias/release"), key_source("release.pem").name
        ('awskms:///alias/release', 'release.pem')
    """
    return text if is_service(text) else local_path(text)


def radius(text: str) -> float:
    """A number or a fraction above 0.

    Examples:
        >>> radius("51/255"), radius("0.1")
        (0.2, 0.1)
    """
    above, _, below = text.partition("/")
    try:
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected a number or a fraction above 0, such as 0.1 or 8/255, got {_cut(text)}"
        )
    return value


def web_address(text: str) -> str:
    """An http or https URL.

    Examples:
        >>> web_address("http://127.0.0.1:8000/v1")
        'http://127.0.0.1:8000/v1'
    """
    try:
        public_address(text)
    except UsageError:
        raise argparse.ArgumentTypeError(
            f"expected an address that begins with http:// or https://, got {_cut(text)}"
        ) from None
    return text


def whole(text: str) -> int:
    """A whole number.

    Examples:
        >>> whole("-3")
        -3
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {_cut(text)}") from None


def count(text: str) -> int:
    """A whole number from 1 on.

    Examples:
        >>> count("16")
        16
    """
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {number}")
    return number


def number(text: str) -> float:
    """A finite number.

    Examples:
        >>> number("0.5")
        0.5
    """
    return _required(text, math.isfinite, "a finite number")


def positive(text: str) -> float:
    """A finite number above 0.

    Examples:
        >>> positive("0.5")
        0.5
    """
    return _required(text, lambda value: 0 < value < math.inf, "a number above 0")


def duration(text: str) -> float:
    """Seconds, 0 or more.

    Examples:
        >>> duration("1.5")
        1.5
    """
    return _required(text, lambda value: 0 <= value < math.inf, "seconds from 0 on")


def share(text: str) -> float:
    """A share, 0 to 1.

    Examples:
        >>> share("0.7")
        0.7
    """
    return _required(text, lambda value: 0 <= value <= 1, "a share from 0 to 1, such as 0.7")


def seed(text: str) -> int:
    """A seed of the random numbers, 0 to 2147483647.

    Examples:
        >>> seed("7")
        7
    """
    if not text.isdecimal() or not int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected 0 to 2147483647, got {text!r}")
    return int(text)


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


def _required(text: str, holds: Callable[[float], bool], wanted: str) -> float:
    """The number of a text, if it is one and holds; none is `math.nan`, of which nothing holds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {_cut(text)}")
    return value


def _cut(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
