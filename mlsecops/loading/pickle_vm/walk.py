"""Effects of the pickles that a `Walker` has executed symbolically."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlsecops.findings import Finding
from mlsecops.loading.verdict import Unchecked


@dataclass(slots=True)
class Walk:
    """Effects of one or more pickles in a stream.

    Attributes:
        findings: Why they are refused.
        globals: Allowed names that they import.
        end: Position after the last opcode.
        opcodes: Number of opcodes.
        arrays: Number of raw arrays between the opcodes (joblib).
        value: Symbolic value of the last pickle.
        storages: Persistent ids of the storages that it refers to (torch).
        unchecked: Calls that are unusual and not refused.
    """

    findings: list[Finding] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    end: int = 0
    opcodes: int = 0
    arrays: int = 0
    value: Any = None
    storages: list[Any] = field(default_factory=list)
    unchecked: dict[str, Unchecked] = field(default_factory=dict)
