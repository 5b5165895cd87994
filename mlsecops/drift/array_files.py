"""Array file format: a header in JSON, raw numbers and a checksum; nothing in it can run.

    kind, facts, arrays → pack → bytes → unpack or decode → facts, arrays or the decoded value

Layout: an 8-byte magic, the header's length (4 bytes, big endian), the header (UTF-8 JSON: kind,
facts, and name, dtype and shape of each array), the arrays' bytes in that order (little endian, C
order), and the SHA-256 of everything before it. The checksum detects accidents; to know who wrote
a file, sign it like any other artifact.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlsecops import provenance, signing
from mlsecops._choices import path_of
from mlsecops._json import parse_object
from mlsecops.errors import FormatRefused, LimitExceeded, UsageError

R = TypeVar("R")

MAX_BYTES: Final = 512 * 2**20  # bytes; chosen: a baseline holds at most 64 MiB of values
_MAX_HEADER: Final = 2**24  # bytes; chosen: a million feature names fit
_MAX_DIMENSIONS: Final = 8  # chosen: the arrays written here have at most 2
_MAGIC: Final = b"MLSOPS1\n"
_CHECKSUM: Final = hashlib.sha256().digest_size
_DTYPES: Final = {"<f8": 8, "<f4": 4, "<i8": 8, "|u1": 1}

Arrays = dict[str, NDArray[Any]]


def pack(kind: str, facts: dict[str, Any], arrays: Arrays) -> bytes:
    """Serialise float64, float32, int64 or uint8 arrays, and facts for JSON, of one kind."""
    table = [[name, each.dtype.newbyteorder("<").str, each.shape] for name, each in arrays.items()]
    header = json.dumps({"kind": kind, "facts": facts, "arrays": table}).encode()
    body = b"".join(
        np.ascontiguousarray(each, dtype=each.dtype.newbyteorder("<")).tobytes()
        for each in arrays.values()
    )
    content = _MAGIC + struct.pack(">I", len(header)) + header + body
    return content + hashlib.sha256(content).digest()


def unpack(data: bytes, kind: str, *, where: str) -> tuple[dict[str, Any], Arrays]:
    """Parse the untrusted bytes of `pack`; `where` names them in messages.

    Raises:
        FormatRefused: The bytes are not of that kind, are cut short, or were changed.
        LimitExceeded: They are more than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f"{where}: at most {MAX_BYTES} bytes are read, got {len(data)}")
    start = len(_MAGIC) + 4
    if len(data) < start + _CHECKSUM or not data.startswith(_MAGIC):
        raise FormatRefused(f"{where}: expected a {kind} written by mlsecops, got other bytes")
    content, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    if hashlib.sha256(content).digest() != checksum:
        raise FormatRefused(f"{where}: the checksum does not match: the bytes are damaged")
    (length,) = struct.unpack(">I", content[len(_MAGIC) : start])
    if length > min(_MAX_HEADER, len(content) - start):
        raise FormatRefused(f"{where}: the header claims {length} bytes, which are not there")
    try:
        text = content[start : start + length]
        header = parse_object(text, what=f"{where}: header", error=FormatRefused)
        if header["kind"] != kind:
            raise FormatRefused(f"{where}: expected a {kind}, got a {str(header['kind'])[:40]!r}")
        return dict(header["facts"]), _arrays(header["arrays"], content[start + length :], where)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise FormatRefused(f"{where}: the header is malformed: {error}") from error


def decode(
    data: bytes, kind: str, build: Callable[[dict[str, Any], Arrays], R], *, where: str
) -> R:
    """Unpack untrusted bytes, and build a value of the facts and arrays in them.

    Raises:
        FormatRefused: The bytes are malformed, or contradict themselves.
        LimitExceeded: They are more than `MAX_BYTES`.
    """
    facts, arrays = unpack(data, kind, where=where)
    try:
        return build(facts, arrays)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise FormatRefused(f"{where}: malformed {kind}: {error!r}") from error


def read(path: str | os.PathLike[str], *, policy: signing.TrustPolicy | None = None) -> bytes:
    """Read a file once, and verify its signature if a policy is given.

    Raises:
        LimitExceeded: The file has more than `MAX_BYTES`.
        VerificationError: Its signature is missing or does not satisfy the policy.
        UsageError: The file cannot be read.
    """
    try:
        with path_of("path", path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise LimitExceeded(f"{path}: at most {MAX_BYTES} bytes are read")
    if policy is not None:
        _verify(data, Path(path), policy)
    return data


def _verify(data: bytes, path: Path, policy: signing.TrustPolicy) -> None:
    place = signing.bundle_path(path)
    verifier = signing.Verifier(policy)
    expected = signing.expected_name(path, None)
    signed = verifier.open(signing.read_bundle(place), where=str(place), expected=expected)
    algorithm = signed.manifest.algorithm
    digest = provenance.Digest.of(data, algorithm=algorithm)
    entry = provenance.Entry(name=".", digest=digest, size=len(data))
    actual = provenance.Manifest(name=path.name, algorithm=algorithm, entries=(entry,), single=True)
    verifier.match(signed, actual, where=str(path))


def _arrays(table: Any, body: bytes, where: str) -> Arrays:
    """Arrays of a body that the table describes to the last byte."""
    arrays: Arrays = {}
    offset = 0
    for name, dtype, shape in table:
        sizes = [int(size) for size in shape]
        if dtype not in _DTYPES or len(sizes) > _MAX_DIMENSIONS or min(sizes, default=0) < 0:
            raise FormatRefused(f"{where}: array {str(name)[:40]!r} has an unknown dtype or shape")
        size = math.prod(sizes) * _DTYPES[dtype]
        if size > len(body) - offset:
            raise FormatRefused(f"{where}: array {str(name)[:40]!r} is longer than the file")
        flat = np.frombuffer(body, dtype=dtype, count=math.prod(sizes), offset=offset)
        arrays[str(name)] = flat.astype(flat.dtype.newbyteorder("=")).reshape(sizes)
        offset += size
    if offset != len(body):
        raise FormatRefused(f"{where}: {len(body) - offset} bytes follow the last array")
    return arrays
