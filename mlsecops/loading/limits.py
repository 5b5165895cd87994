"""Resource limits of scanning and loading: sizes, counts, nesting, and the budget of the whole."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from mlsecops._bounded.budget import ANY_RATIO, MIB, SECONDS, Budget
from mlsecops._choices import checked, whole
from mlsecops._repr import concise_repr
from mlsecops.errors import LimitExceeded

__all__ = ["MIB", "PIECE", "Limits"]

PIECE: Final = 1 << 20  # bytes read or written at once; chosen: few calls, little memory


@concise_repr()
@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what an artifact declares, checked before the bytes are read.

    Attributes:
        file_bytes: Bytes of one file.
        header_bytes: Bytes of a header or configuration (safetensors header, `config.json`,
            pickle of a torch archive).
        tensors: Number of tensors, arrays or archive entries.
        opcodes: Pickle opcodes in one file.
        depth: Nesting levels of a configuration.
        ratio: Uncompressed bytes for each stored byte, of all archives in each other together.
        bytes: Unpacked bytes of the whole artifact: a file or folder with everything nested in it.
        seconds: CPU seconds for reading the whole artifact, worker processes included; a small
            one has fewer: two, and four for each MiB.

    Raises:
        UsageError: A limit is not a whole number from 1 on.

    Examples:
        >>> Limits(tensors=1).require("tensors", 2, where="a.npz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mlsecops.errors.LimitExceeded: a.npz: tensors is 2: expected at most 1; raise ...
    """

    file_bytes: int = 1 << 40
    header_bytes: int = 100 * MIB
    tensors: int = 100_000
    opcodes: int = 20_000_000
    depth: int = 100
    ratio: int = 100
    bytes: int = 1 << 40
    seconds: int = SECONDS

    def __post_init__(self) -> None:
        for limit in fields(self):
            whole(limit.name, getattr(self, limit.name), "a number from 1 on")

    def budget(self, stored: int) -> Budget:
        """The budget of an artifact with everything nested in it.

        Args:
            stored: Its bytes as they are stored.
        """
        return Budget(stored, seconds=self.seconds, unpacked=self.bytes, ratio=self.ratio)

    def require(self, limit: str, got: int, *, where: str) -> None:
        """Demand that a declared number is within its limit.

        Args:
            limit: Name of the limit.
            got: The declared number.
            where: Place in the artifact.

        Raises:
            LimitExceeded: It is over.
        """
        most: int = getattr(self, limit)
        if got > most:
            raise LimitExceeded(
                f"{where}: {limit} is {got}: expected at most {most}; "
                f"raise Limits({limit}=…) if this file is meant to be so large"
            )

    def require_expansion(self, stored: int, expanded: int, *, where: str) -> None:
        """Demand that compressed bytes do not expand too far.

        Args:
            stored: Compressed bytes.
            expanded: Uncompressed bytes, declared or read so far.
            where: Place in the artifact.

        Raises:
            LimitExceeded: They do.
        """
        most = min(self.file_bytes, max(self.ratio * stored, ANY_RATIO))
        if expanded > most:
            raise LimitExceeded(
                f"{where}: holds {expanded} bytes in {stored}: expected at most {most}; "
                "raise Limits(ratio=…) if this file is meant to be so large"
            )
