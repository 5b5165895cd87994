"""Text, JSON and data sets that commands read, and files that they write.

path → text or JSON value; `NAME=PATH` → Manifest; text → file, written whole or not at all
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsecops._files import utf8, write_atomically
from mlsecops._json import parse_json
from mlsecops.cli.options import option
from mlsecops.cli.values import pair
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.provenance import Manifest
    from mlsecops.robustness import RobustnessReport

MOST_JSON_BYTES = 64 << 20  # bytes; chosen: larger files are refused before they are parsed


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Declare the data sets that a model was trained on."""
    option(parser, "--dataset NAME=PATH", "data set that the model was trained on; may be repeated",
           several=True, type=pair("NAME=PATH", Path))  # fmt: skip


def read_datasets(pairs: Iterable[tuple[str, Path]]) -> dict[str, Manifest]:
    """Name → manifest of each data set.

    Raises:
        UsageError: A name is repeated, or a path cannot be opened.
    """
    from mlsecops.provenance import hash_dataset  # noqa: PLC0415 - `scan` reads no data

    manifests: dict[str, Manifest] = {}
    for name, path in pairs:
        if name in manifests:
            raise UsageError(f"--dataset {name}: expected each name once, got it twice")
        manifests[name] = hash_dataset(path, name=name)
    return manifests


def read_json(path: Path) -> Any:
    """The value of a JSON file; `Infinity` is accepted, since alerts and snapshots may hold it.

    Raises:
        UsageError: The file cannot be opened, or is not JSON.

    Examples:
        >>> read_json(write_file(Path("a.json"), '{"n": 1}'))
        {'n': 1}
    """
    return parse_json(read_text(path), what=str(path), error=UsageError, constants=True)


def kind_of(value: Any) -> str:
    """What a JSON value is, by its kind and the names in it.

    Examples:
        >>> kind_of([1]), kind_of({"a": 1})
        ('an array', 'an object with a')
    """
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, value))[:60] or 'no members'}"
    return "an array" if isinstance(value, list) else repr(value)[:60]


def read_report(path: Path) -> RobustnessReport:
    """The robustness report of a JSON file.

    Raises:
        UsageError: The file cannot be opened, or is no such report.
    """
    from mlsecops.robustness import RobustnessReport  # noqa: PLC0415 - few commands read one

    value = read_json(path)
    try:
        return RobustnessReport.from_dict(value)
    except UsageError as error:
        raise UsageError(
            f"{path}: expected a robustness report, as mlsecops attack --format json prints it, "
            f"got {kind_of(value)}" + (f": {error}" if isinstance(value, dict) else "")
        ) from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        UsageError: It cannot be opened, is not UTF-8, or is larger than `MOST_JSON_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_JSON_BYTES + 1)
        if len(data) > MOST_JSON_BYTES:
            raise UsageError(f"{path}: expected at most {MOST_JSON_BYTES} bytes of text")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected UTF-8 text: {error}") from error


def write_files(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write texts into a folder, each whole or not at all; the folder is created if absent.

    Raises:
        UsageError: The folder cannot be written, or a text holds what UTF-8 cannot.
    """
    try:
        data = {name: utf8(text, what=name) for name, text in files.items()}
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, each) for name, each in data.items()]
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from error


def write_file(path: Path, text: str) -> Path:
    """Write a text to a path, whole or not at all.

    Raises:
        UsageError: The path cannot be written, or the text holds what UTF-8 cannot.
    """
    return write_atomically(path, utf8(text, what=str(path)))
