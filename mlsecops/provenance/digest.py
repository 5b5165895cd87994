"""Digests: an algorithm and its value, never a bare hex string."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mlsecops._choices import of_type, one_of, shown
from mlsecops._extras import require
from mlsecops.errors import UsageError

SIZES: Final = {"sha256": 32, "sha384": 48, "sha512": 64, "blake2b": 64, "blake3": 32}
_TEXT: Final = re.compile(r"([a-z0-9]+):([0-9a-f]+)")


class Hash(Protocol):
    """Running hash, as `hashlib` makes them."""

    def update(self, data: Any, /) -> object:
        """Add bytes."""

    def digest(self) -> bytes:
        """Value of all bytes so far."""


class Isolation(Protocol):
    """Source of isolated digests (a registry, a deny-list, a service)."""

    def isolated(self, digest: Digest) -> str | None:
        """Reason why the digest must not be used, or None."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest with its algorithm; its text form is `sha256:<hex>`.

    Attributes:
        algorithm: One of `sha256`, `sha384`, `sha512`, `blake2b`, `blake3`.
        value: Raw bytes, of exactly the algorithm's length.

    Raises:
        UsageError: The algorithm is unknown, or the value has another length.

    Examples:
        >>> Digest.of(b"")
        Digest(sha256:e3b0c44298fc)
        >>> Digest.parse(str(Digest.of(b""))) == Digest.of(b"")
        True
    """

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        plain = type(self.value) is bytes and type(self.algorithm) is str
        if plain and SIZES.get(self.algorithm) == len(self.value):
            return  # the usual case, thousands of times for a folder
        expected = SIZES[one_of("algorithm", self.algorithm, SIZES)]
        if not isinstance(self.value, bytes) or len(self.value) != expected:
            got = len(self.value) if isinstance(self.value, bytes) else shown(self.value)
            raise UsageError(f"value: expected {expected} bytes of {self.algorithm}, got {got}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read the text form, `"sha256:<lower-case hex>"`.

        Raises:
            UsageError: The text has another form, or the value another length.
        """
        match = _TEXT.fullmatch(of_type("text", text, str, "'sha256:<hex>'"))
        if match is None or len(match[2]) % 2:
            raise UsageError(f"digest: expected 'sha256:<hex>', got {text[:80]!r}")
        return cls(match[1], bytes.fromhex(match[2]))

    @classmethod
    def of(cls, data: bytes, *, algorithm: str = "sha256") -> Digest:
        """Digest of bytes in memory."""
        running = new_hash(algorithm)
        running.update(of_type("data", data, (bytes, bytearray, memoryview), "bytes"))
        return cls(algorithm, running.digest())

    def __repr__(self) -> str:
        return f"Digest({self.algorithm}:{self.hex[:12]})"

    @property
    def hex(self) -> str:
        """Lower-case hexadecimal value."""
        return self.value.hex()

    @property
    def short(self) -> str:
        """Algorithm and first twelve hexadecimal digits, for people."""
        return f"{self.algorithm}:{self.hex[:12]}"

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def new_hash(algorithm: str, *, threads: bool = False) -> Hash:
    """Start a hash; with `threads`, BLAKE3 may use every core for large updates.

    Raises:
        UsageError: The algorithm is unknown.
        MissingExtra: `blake3` is not installed.
    """
    if algorithm == "blake3":
        blake3 = require("blake3").blake3
        running: Hash = blake3(max_threads=blake3.AUTO if threads else 1)
        return running
    return hashlib.new(one_of("algorithm", algorithm, SIZES), usedforsecurity=True)
