"""Trusted root of a Sigstore instance: its certificate, log and time stamp authorities.

path or JSON → checked bytes → sigstore-python's TrustedRoot

Source: Sigstore trusted root v0.1; a client trust configuration v0.1 holds one, too.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from importlib import resources
from typing import Any, Final, TypeAlias

from mlsecops._choices import path_of, shown
from mlsecops._extras import require
from mlsecops._json import parse_object
from mlsecops.errors import UsageError

TrustedRootSource: TypeAlias = str | bytes | os.PathLike[str]

MAX_ROOT_BYTES: Final = 4 << 20  # bytes; chosen: the public instance's has 7 KiB
_ROOT: Final = "application/vnd.dev.sigstore.trustedroot"
_CONFIGURATION: Final = "application/vnd.dev.sigstore.clienttrustconfig"
_PUBLIC: Final = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"  # folder of the package, as it quotes it


def read_trusted_root(source: TrustedRootSource) -> bytes:
    """The JSON of a trusted root.

    Args:
        source: A path, or JSON text or bytes, of a trusted root or a client trust configuration.

    Raises:
        UsageError: It cannot be read, or is neither.
    """
    if isinstance(source, str) and source.lstrip().startswith("{"):
        source = source.encode()
    data, where = (source, "trusted_root") if isinstance(source, bytes) else _read(source)
    value = parse_object(data, what=where, error=UsageError, most=MAX_ROOT_BYTES)
    kind = str(value.get("mediaType"))
    if kind.startswith(_CONFIGURATION) and isinstance(value.get("trustedRoot"), dict):
        return json.dumps(value["trustedRoot"]).encode()
    if not kind.startswith(_ROOT):
        raise UsageError(
            f"{where}: expected a Sigstore trusted root (mediaType {_ROOT}…), got mediaType "
            f"{shown(value.get('mediaType'))}; ask the instance's operator for trusted_root.json"
        )
    return data


@lru_cache(maxsize=16)
def trusted_root_of(data: bytes | None) -> Any:
    """sigstore-python's TrustedRoot of JSON bytes; of None, the public instance's, which it ships.

    Raises:
        UsageError: sigstore-python cannot use it.
        MissingExtra: `sigstore` is not installed.
    """
    models = require("sigstore.models")
    try:
        inner = models.trustroot_v1.TrustedRoot.from_json(_shipped() if data is None else data)
        return models.TrustedRoot(inner)
    except Exception as error:  # sigstore-python does not wrap the errors of its parsers
        raise UsageError(f"trusted_root: sigstore-python cannot use it: {error}") from error


@lru_cache(maxsize=16)
def verifier_of(data: bytes | None) -> Any:
    """sigstore-python's Verifier under a trusted root; otherwise as `trusted_root_of`."""
    root = trusted_root_of(data)
    try:
        return require("sigstore.verify").Verifier(trusted_root=root)
    except require("sigstore.errors").Error as error:
        raise UsageError(f"trusted_root: sigstore-python cannot use it: {error}") from error


def _shipped() -> bytes:
    return resources.files("sigstore._store").joinpath(_PUBLIC, "trusted_root.json").read_bytes()


def _read(source: str | os.PathLike[str]) -> tuple[bytes, str]:
    place = path_of("trusted_root", source)
    try:
        with place.open("rb") as stream:
            return stream.read(MAX_ROOT_BYTES + 1), str(place)
    except OSError as error:
        raise UsageError(f"cannot read the trusted root {place}: {error.strerror}") from error
