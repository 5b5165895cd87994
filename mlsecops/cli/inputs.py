"""What commands read from files besides models: JSON, `NAME=PATH` pairs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlsecops._files import write_atomically
from mlsecops.errors import UsageError
from mlsecops.provenance import Manifest, hash_dataset

MOST_JSON_BYTES = 64 << 20


def add_datasets(parser: argparse.ArgumentParser) -> None:
    """Declare the data sets that a model was made from."""
    parser.add_argument(
        "--dataset", nargs="+", action="extend", default=[], type=_pair, metavar="NAME=PATH",
        help="data set that the model was made from; may be repeated",
    )  # fmt: skip


def read_datasets(pairs: Iterable[tuple[str, Path]]) -> dict[str, Manifest]:
    """Name → manifest of each data set.

    Raises:
        UsageError: A name stands twice, or a path cannot be opened.
    """
    manifests: dict[str, Manifest] = {}
    for name, path in pairs:
        if name in manifests:
            raise UsageError(f"--dataset {name}: expected each name once, got it twice")
        manifests[name] = hash_dataset(path, name=name)
    return manifests


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UsageError: The file cannot be opened, or does not hold JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: expected JSON: {error}") from error


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        UsageError: It cannot be opened, is no UTF-8, or is larger than any honest one.
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
    """Write texts into a folder, which is made if it is absent; each whole or not at all.

    Raises:
        UsageError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, text.encode()) for name, text in files.items()]
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}") from error


def write_file(path: Path, text: str) -> Path:
    """Write a text where it was asked for, whole or not at all.

    Raises:
        UsageError: It cannot be written there.
    """
    try:
        return write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, got {text!r}")
    return name, Path(path)
