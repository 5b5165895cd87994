"""How much of what an artifact declares is believed: sizes and counts, each with its ceiling."""

from __future__ import annotations

from dataclasses import dataclass

from mlsecops.errors import LimitExceeded

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Ceilings, checked before the bytes they are about are read.

    Attributes:
        file_bytes: Size of one file.
        header_bytes: A header or configuration (safetensors header, `config.json`, pickle of a
            torch archive).
        tensors: Number of tensors, arrays or archive entries.
        opcodes: Pickle opcodes in one file.
        depth: Nesting of a configuration.
        ratio: Uncompressed bytes for each byte stored.
        seconds: CPU time for one file, of a library that has a process of its own (HDF5).
    """

    file_bytes: int = 1 << 40
    header_bytes: int = 100 * MIB
    tensors: int = 100_000
    opcodes: int = 20_000_000
    depth: int = 100
    ratio: int = 100
    seconds: int = 60

    def require(self, limit: str, got: int, *, where: str) -> None:
        """Demand that a declared number is within its limit.

        Args:
            limit: Name of the limit.
            got: What is declared.
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
