"""What is learned by walking pickles: their findings, their imports, and where they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlsecops.findings import Finding


@dataclass(slots=True)
class Walk:
    """What one or more pickles in a stream would do.

    Attributes:
        findings: Why they are refused.
        globals: Allowed names that they import.
        end: Position after the last opcode.
        opcodes: How many there were.
        arrays: How many raw arrays stand between the opcodes (joblib).
        value: Shadow of what the last pickle gives.
    """

    findings: list[Finding] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    end: int = 0
    opcodes: int = 0
    arrays: int = 0
    value: Any = None
