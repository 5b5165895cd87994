"""Step of a playbook: action, instructions and approval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlsecops._repr import concise_repr

__all__ = ["Approval", "PlaybookStep"]

Approval = Literal["none", "automatic", "required"]


@concise_repr()
@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookStep:
    """One step of a playbook.

    Attributes:
        name: Name, unique in the playbook.
        action: `isolate`, `assess`, `rollback`, `forensics`, `remediate`, `validate`, `close`, or
            `manual` for people.
        title: Title for people.
        instructions: What the step does, or what people have to do.
        approval: `none`, `automatic` or `required`.
    """

    name: str
    action: str
    title: str
    instructions: str
    approval: Approval = "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
